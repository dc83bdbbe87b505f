/* The one file of a project that holds the library. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
