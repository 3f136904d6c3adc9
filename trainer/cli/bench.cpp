#include <ostream>

#include <nlohmann/json.hpp>

#include "kernels/conformance.h"
#include "trainer/cli/command.h"
#include "trainer/io/atomic_file.h"

namespace sterna::cli {
namespace {

using kernels::CpuLevel;
using kernels::DintVector;

nlohmann::json to_json(const DintVector& v) {
  return {{"name", v.name},
          {"bits", v.bits},
          {"m", v.m},
          {"n", v.n},
          {"k", v.k},
          {"group", v.group},
          {"levels", v.levels},
          {"codes", v.codes},
          {"scales", v.scales},
          {"zeros", v.zeros},
          {"x", v.x},
          {"x_scales", v.x_scales},
          {"sums", v.sums},
          {"y", v.y}};
}

/// One line a variant. @return  false where one that this machine has does not conform
bool report(const std::vector<DintVector>& vectors, std::ostream& out) {
  bool all = true;
  for (const CpuLevel level : kernels::kCpuLevels) {
    out << kernels::name_of(level) << ": ";
    if (!kernels::supports(level)) {
      out << "not on this machine\n";
      continue;
    }
    size_t good = 0;
    std::string wrong;
    for (const DintVector& vector : vectors) {
      const bool conforms = kernels::conforms(vector, level);
      good += conforms ? 1 : 0;
      wrong += conforms ? "" : "  differs: " + vector.name + "\n";
    }
    out << good << " of " << vectors.size() << " vectors, bit for bit\n" << wrong;
    all = all && wrong.empty();
  }
  return all;
}

int run_bench(const Invocation& typed, Streams streams) {
  if (!typed.has("conformance"))
    throw recipes::UserError(
        "bench: expected --conformance; what times kernels is built by `ninja bench` "
        "(docs/benchmarks.md)");
  const std::vector<DintVector> vectors = kernels::dint_vectors();
  if (const std::string file = typed.text("json"); !file.empty()) {
    nlohmann::json all{{"format", 1}, {"vectors", nlohmann::json::array()}};
    for (const DintVector& vector : vectors)
      all["vectors"].push_back(to_json(vector));
    io::write_atomically(file, all.dump() + "\n");
    streams.err << "wrote " << vectors.size() << " vectors to " << file << "\n";
  }
  return report(vectors, streams.out) ? kDone : kAnswerIsNo;
}

}  // namespace

Command bench_command() {
  Command command;
  command.name = "bench";
  command.usage = "--conformance [--json FILE]";
  command.summary = "holds this machine's packed products to vectors with known results";
  command.details =
      "dINT weights of three and four bits times 8-bit activations, with every sum and output.\n"
      "--json writes the vectors, so that other kernels of this format can be held to them; what\n"
      "its keys mean is in kernels/conformance.h. STERNA_KERNEL=portable|avx2|avx512|amx chooses\n"
      "what every verb computes with; this one tries all that the machine has. Exit code 1 where\n"
      "one differs.";
  command.example = "bench --conformance --json build/dint_vectors.json";
  command.overrides = false;
  command.flags = {{"conformance", "", "runs the vectors on every variant of this machine"},
                   {"json", "FILE", "also writes the vectors there"}};
  command.run = run_bench;
  return command;
}

}  // namespace sterna::cli
