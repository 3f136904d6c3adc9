#include "trainer/cli/verify_against.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "trainer/export/certify.h"

namespace sterna::cli {

namespace {
constexpr size_t kShown = 20;
}  // namespace

int verify_against(const std::filesystem::path& folder,
                   const std::filesystem::path& against,
                   Streams streams) {
  const exporter::ExportSource source = exporter::open_source(against);
  for (const std::string& remark : source.remarks)
    streams.err << remark << "\n";
  const exporter::Certificate certificate = exporter::certify(folder, source);
  const auto& wrong = certificate.mismatches;
  for (size_t i = 0; i < std::min(kShown, wrong.size()); ++i)
    streams.out << wrong[i] << "\n";
  if (!wrong.empty()) {
    streams.out << wrong.size() << " differences: " << folder.string() << " is not what "
                << against.string() << " holds; no certificate written\n";
    return kAnswerIsNo;
  }
  exporter::write_certificate(folder, certificate, nullptr);
  streams.out
      << folder.string() << ": " << source.weights.tensors.size() << " tensors ("
      << source.weights.encoded.size()
      << " with codes) are those of the checkpoint, bit for bit after the declared rounding; "
         "certificate.json written\n";
  return kDone;
}

}  // namespace sterna::cli
