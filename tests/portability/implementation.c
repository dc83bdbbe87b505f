/* The unit of a program that holds the library. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
