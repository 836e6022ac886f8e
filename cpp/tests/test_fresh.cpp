// Huge pages are asked for inside a block and nowhere else, and what is in the block stays.
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

#include "check.hpp"
#include "fresh.hpp"

#if defined(__linux__)
#include <sys/mman.h>

namespace {

constexpr size_t kHugePage = size_t{1} << 21;

// How many bytes between two addresses are in mappings that asked for huge pages.
size_t asked_bytes(uintptr_t begin, uintptr_t end) {
  std::ifstream maps("/proc/self/smaps");
  size_t found = 0;
  uintptr_t first = 0, last = 0;
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
      first = from;
      last = to;
    } else if (line.rfind("VmFlags:", 0) == 0 && line.find(" hg") != std::string::npos) {
      const uintptr_t low = first > begin ? first : begin, high = last < end ? last : end;
      if (low < high) found += high - low;
    }
  }
  return found;
}

void test_block(size_t offset, size_t size_bytes) {
  const size_t room = 8 * kHugePage;
  char* mapped = static_cast<char*>(mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(mapped != MAP_FAILED);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(mapped);
  const size_t aligned = (begin + kHugePage - 1) / kHugePage * kHugePage - begin;
  char* block = mapped + aligned + offset;
  std::memset(block, 7, size_bytes < 100 ? size_bytes : 100);
  memline::kernels::ask_for_huge_pages(block, size_bytes);
  const size_t whole = (offset + size_bytes) / kHugePage - (offset + kHugePage - 1) / kHugePage;
  const bool none = (offset + size_bytes) / kHugePage < (offset + kHugePage - 1) / kHugePage;
  const size_t asked = asked_bytes(begin, begin + room);
  CHECK(asked == 0 || asked == whole * kHugePage);  // 0 as well: a system without huge pages
  CHECK(!none || asked == 0);
  const uintptr_t at = reinterpret_cast<uintptr_t>(block);
  CHECK(asked_bytes(begin, at) == 0 && asked_bytes(at + size_bytes, begin + room) == 0);
  for (size_t i = 0; i < size_bytes && i < 100; ++i) CHECK(block[i] == 7);
  munmap(mapped, room);
}

}  // namespace

int main() {
  test_block(0, 3 * kHugePage);
  test_block(64, 3 * kHugePage);
  test_block(kHugePage - 64, 2 * kHugePage + 64);
  test_block(64, kHugePage);
  test_block(64, 10);
  test_block(0, 0);
  return 0;
}
#else
int main() { return 0; }
#endif
