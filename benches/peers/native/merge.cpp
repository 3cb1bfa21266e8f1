// std::merge, and the parallel mode of libstdc++ with two threads.
#include "protocol.hpp"
#include <algorithm>
#include <omp.h>
#include <parallel/algorithm>

int main(int argc, char **argv) {
  auto asked = parameters(argc, argv);
  auto a = values<int64_t>(asked["a"]), b = values<int64_t>(asked["b"]);
  int threads = std::stoi(asked["threads"]);
  omp_set_num_threads(threads);
  auto settings = __gnu_parallel::_Settings::get();
  settings.algorithm_strategy = __gnu_parallel::force_parallel;
  __gnu_parallel::_Settings::set(settings);
  std::vector<int64_t> out(a.size() + b.size());
  serve(
      [&] {
        if (threads > 1)
          __gnu_parallel::merge(a.begin(), a.end(), b.begin(), b.end(), out.begin(), std::less<int64_t>());
        else
          std::merge(a.begin(), a.end(), b.begin(), b.end(), out.begin());
      },
      [&] { return std::vector<double>(out.begin(), out.end()); });
}
