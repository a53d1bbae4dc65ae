"""What torch has no operation for, in C: built at first use where there is a C compiler; everything runs without, slower."""
