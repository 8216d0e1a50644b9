// __arm_tpidr2_save, the one routine of the SME ABI that functions with a ZA of their own call: it stores ZA for a
// caller that left it unsaved, as the procedure call standard for AArch64 defines it ("SME support routines", "TPIDR2
// block"). Compiler-rt has it; this file is for run-time libraries without it (SMEPILOT_SME_ABI in CMake).
#define SMEPILOT_TEXT_2(x) #x
#define SMEPILOT_TEXT(x) SMEPILOT_TEXT_2(x)
#define SMEPILOT_SYMBOL SMEPILOT_TEXT(__USER_LABEL_PREFIX__) "__arm_tpidr2_save"

// It may change x14 to x17 only, and no vectors. The block: where to store, the number of slices (two bytes at 8), and
// six bytes that must be zero.
__asm__(
    ".text\n"
    ".arch_extension sme\n"
    ".globl " SMEPILOT_SYMBOL
    "\n"
    ".p2align 2\n" SMEPILOT_SYMBOL
    ":\n"
    "  mrs x16, TPIDR2_EL0\n"
    "  cbz x16, 2f\n"
    "  ldrh w14, [x16, #10]\n"
    "  cbnz w14, 3f\n"
    "  ldr w14, [x16, #12]\n"
    "  cbnz w14, 3f\n"
    "  ldrh w14, [x16, #8]\n"
    "  cbz w14, 2f\n"
    "  ldr x16, [x16]\n"
    "  mov x15, xzr\n"
    "1:\n"
    "  str za[w15, 0], [x16]\n"
    "  addsvl x16, x16, #1\n"
    "  add x15, x15, #1\n"
    "  cmp x15, x14\n"
    "  b.ne 1b\n"
    "2:\n"
    "  ret\n"
    "3:\n"
    "  brk #1\n");
