// Times encoding on one thread: tokenize_bench TOKENIZER FILE, with documents parted by NUL in
// FILE. For every line on standard input, one pass over all of them; prints CPU seconds, the number
// of ids and a sum over them. scripts/peers/tokenizer_speed.py calls it.
#include <cstdio>
#include <ctime>
#include <iostream>
#include <string>

#include "trainer/io/atomic_file.h"
#include "trainer/text/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 3)
    return 2;
  const auto tokenizer = sterna::text::open_tokenizer(argv[1]);
  const std::string text = sterna::io::read_text(argv[2]);
  for (std::string line; std::getline(std::cin, line);) {
    size_t count = 0;
    uint64_t sum = 0;
    const std::clock_t start = std::clock();
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\0', begin), text.size());
      const auto ids = tokenizer->encode(std::string_view(text).substr(begin, end - begin));
      for (const int32_t id : ids)
        sum += (++count) * static_cast<uint64_t>(id);
      begin = end + 1;
    }
    std::printf("%.9f %zu %llu\n",
                static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC,
                count,
                static_cast<unsigned long long>(sum));
    std::fflush(stdout);
  }
}
