// Combination sum: plain recursion as the textbooks have it, and the count by dynamic programming.
#include "protocol.hpp"
#include <algorithm>
#include <sstream>

static uint64_t search(const std::vector<int64_t> &candidates, size_t from, int64_t left) {
  if (left == 0) return 1;
  uint64_t found = 0;
  for (size_t i = from; i < candidates.size() && candidates[i] <= left; i++) found += search(candidates, i, left - candidates[i]);
  return found;
}

int main(int argc, char **argv) {
  auto asked = parameters(argc, argv);
  std::vector<int64_t> candidates;
  std::stringstream list(asked["candidates"]);
  for (std::string each; std::getline(list, each, ',');) candidates.push_back(std::stoll(each));
  std::sort(candidates.begin(), candidates.end());
  auto target = std::stoll(asked["target"]);
  bool by_search = asked["by"] == "search";
  uint64_t count = 0;
  serve(
      [&] {
        if (by_search) {
          count = search(candidates, 0, target);
          return;
        }
        std::vector<uint64_t> ways(target + 1);
        ways[0] = 1;
        for (auto candidate : candidates)
          for (int64_t sum = candidate; sum <= target; sum++) ways[sum] += ways[sum - candidate];
        count = ways[target];
      },
      [&] { return std::vector<double>{static_cast<double>(count)}; });
}
