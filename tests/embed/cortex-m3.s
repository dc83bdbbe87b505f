@ Where a Cortex-M3 begins: the first stack pointer, and newlib's start-up code.
.syntax unified
.section .vectors, "a"
.word 0x20400000
.word _start + 1
.rept 14
.word 0
.endr
