// MPI_Allreduce between processes. Rank 0 speaks the protocol; the others wait for their word in a pipe, since
// waiting inside MPI would spin and take the processor from whoever is measured in between.
#include "protocol.hpp"
#include <mpi.h>
#include <sys/stat.h>

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  auto asked = parameters(argc, argv);
  int rank, ranks;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  size_t elements = std::stoull(asked["elements"]);
  std::vector<float> mine(elements, 1.0f + rank), sum(elements);
  auto pipe = [&](int of) { return asked["pipes"] + "/rank" + std::to_string(of); };
  if (rank == 0)
    for (int other = 1; other < ranks; other++) mkfifo(pipe(other).c_str(), 0600);
  MPI_Barrier(MPI_COMM_WORLD);
  auto reduce = [&] { MPI_Allreduce(mine.data(), sum.data(), static_cast<int>(elements), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); };
  if (rank == 0) {
    std::vector<std::ofstream> others;
    for (int other = 1; other < ranks; other++) others.emplace_back(pipe(other));
    serve(
        [&] {
          for (auto &other : others) other << "run" << std::endl;
          reduce();
        },
        [&] { return std::vector<double>(sum.begin(), sum.end()); });
  } else {
    std::ifstream word(pipe(rank));
    for (std::string line; std::getline(word, line);) reduce();
  }
  MPI_Finalize();
}
