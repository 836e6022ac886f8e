// A block of memory that nobody has touched yet.
#pragma once

#include <cstddef>

namespace memline::kernels {

// Asks the system to back the block with huge pages, as far as these lie in it whole: never for memory beside it. Only
// a wish, and one that a system without huge pages does not know; the block's contents stay what they are.
void ask_for_huge_pages(void* block, size_t size_bytes);

}  // namespace memline::kernels
