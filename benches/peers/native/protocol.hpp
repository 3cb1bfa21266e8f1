// The peer's side of the protocol of src/main.rs: `run` is answered with nanoseconds, `save PATH` with the result.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

using Parameters = std::map<std::string, std::string>;

// argv: threads name=value ...
inline Parameters parameters(int argc, char **argv) {
  Parameters found;
  found["threads"] = argc > 1 ? argv[1] : "1";
  for (int i = 2; i < argc; i++) {
    std::string each = argv[i];
    auto at = each.find('=');
    found[each.substr(0, at)] = each.substr(at + 1);
  }
  return found;
}

template <class T> std::vector<T> values(const std::string &path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<T> read(static_cast<size_t>(file.tellg()) / sizeof(T));
  file.seekg(0);
  file.read(reinterpret_cast<char *>(read.data()), static_cast<std::streamsize>(read.size() * sizeof(T)));
  return read;
}

inline void serve(const std::function<void()> &run, const std::function<std::vector<double>()> &result) {
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "run") {
      auto start = std::chrono::steady_clock::now();
      run();
      auto took = std::chrono::steady_clock::now() - start;
      std::cout << std::chrono::duration_cast<std::chrono::nanoseconds>(took).count() << std::endl;
    } else {
      auto saved = result();
      std::ofstream file(line.substr(5), std::ios::binary);
      file.write(reinterpret_cast<const char *>(saved.data()), static_cast<std::streamsize>(saved.size() * 8));
      file.close();
      std::cout << "saved" << std::endl;
    }
  }
}
