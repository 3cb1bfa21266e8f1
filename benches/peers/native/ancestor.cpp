// The textbook's Euler tour with a sparse table over depths, tuned: the tour holds depth and node in one word, the
// table is one flat block, and a query is two loads and a minimum.
#include "protocol.hpp"
#include <algorithm>
#include <bit>
#include <limits>

int main(int argc, char **argv) {
  auto asked = parameters(argc, argv);
  auto order = values<int64_t>(asked["order"]);
  auto queries = values<uint32_t>(asked["queries"]);
  const int64_t none = std::numeric_limits<int64_t>::min();
  std::vector<uint32_t> left, right;
  left.reserve(order.size()), right.reserve(order.size());
  // Level order, a pair of places for each node, as the file has it.
  size_t next = 1, count = 1;
  for (size_t node = 0; node < count; node++)
    for (auto *side : {&left, &right}) {
      uint32_t child = UINT32_MAX;
      if (next < order.size() && order[next++] != none) child = static_cast<uint32_t>(count++);
      side->push_back(child);
    }
  std::vector<uint64_t> tour;
  std::vector<uint32_t> first(count);
  tour.reserve(2 * count);
  std::vector<std::pair<uint32_t, int>> stack{{0, 0}};
  while (!stack.empty()) {
    auto &[node, stage] = stack.back();
    if (stage == 0) first[node] = static_cast<uint32_t>(tour.size());
    tour.push_back(static_cast<uint64_t>(stack.size()) << 32 | node);
    uint32_t child = UINT32_MAX;
    while (stage < 2 && child == UINT32_MAX) child = stage++ == 0 ? left[node] : right[node];
    if (child != UINT32_MAX)
      stack.push_back({child, 0});
    else
      stack.pop_back();
  }
  size_t n = tour.size(), levels = std::bit_width(n);
  std::vector<uint64_t> table(levels * n);
  std::copy(tour.begin(), tour.end(), table.begin());
  for (size_t level = 1; level < levels; level++) {
    size_t half = size_t{1} << (level - 1);
    uint64_t *below = &table[(level - 1) * n], *here = &table[level * n];
    for (size_t i = 0; i + 2 * half <= n; i++) here[i] = std::min(below[i], below[i + half]);
  }
  std::vector<uint32_t> answers(queries.size() / 2);
  serve(
      [&] {
        for (size_t i = 0; i < answers.size(); i++) {
          uint32_t p = first[queries[2 * i]], q = first[queries[2 * i + 1]];
          if (p > q) std::swap(p, q);
          size_t level = std::bit_width(q - p + 1) - 1;
          const uint64_t *row = &table[level * n];
          answers[i] = static_cast<uint32_t>(std::min(row[p], row[q + 1 - (1u << level)]));
        }
      },
      [&] { return std::vector<double>(answers.begin(), answers.end()); });
}
