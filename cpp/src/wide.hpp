// MEMLINE_WIDE makes the same function for processors with wider registers too, chosen when the program is loaded. Sanitizers
// are not ready by then.
#pragma once

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define MEMLINE_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define MEMLINE_WIDE
#endif
