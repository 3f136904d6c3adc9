// Exporting a run takes the memory of one matrix, whatever ranks wrote its checkpoint.
#include <gtest/gtest.h>

#include "tests/export/toy_source.h"
#include "tests/model/reshard.h"
#include "tests/support/memory.h"
#include "tests/support/tiny_model.h"
#include "trainer/io/safetensors_stream.h"
#include "trainer/model/quantizers.h"

namespace sterna::exporter {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kLargest = 4096 * 512 * sizeof(float);

/// A ternary run of 36 million weights, 140 MiB of masters, written by four ranks.
model::CheckpointInfo write_run(const fs::path& folder) {
  const fs::path start = folder / "start";
  fs::create_directories(start);
  tests::write_file(start / "config.json", tests::llama_config(tests::wide_model(10)).dump());
  tests::write_file(start / "tokenizer.json", R"({"version":"1.0"})");
  model::Manifest manifest;
  manifest.stage = "train";
  manifest.source = start.string();
  manifest.recipe = "[quant]\nweight = { name = \"twn\" }\n";
  manifest.hashes = {{"tokenizer", "t"}, {"data", "d"}};
  for (const char* key : {"blocks", "skipped", "bad_in_row", "applied", "best", "best_step"})
    manifest.state[key] = 1;
  recipes::Recipe recipe = recipes::Recipe::parse(manifest.recipe, "recipe");
  const quant::Plan plan = quant::Plan::read(recipe.section("quant"));
  model::Decoder shapes(model::read_hf_config(start), at::kFloat);
  const fs::path run = folder / "run";
  fs::create_directory(run);
  const auto write = [&](const std::string& kind, const auto& value_of) {
    const std::string file = kind + ".safetensors";
    io::SafetensorsStream stream(run / file);
    for (const model::Parameter& p : shapes.parameters()) {
      const auto [name, value] = value_of(p);
      if (!value.defined())
        continue;
      put(stream, name, value);
      manifest.tensors.push_back(
          {name, kind, io::Dtype::kF32, value.sizes().vec(), {{file, 0, value.size(0)}}});
    }
    stream.finish();
    manifest.files[file] = io::sha256_of_file(run / file);
  };
  const auto value = [](const model::Parameter& p) {
    return at::full(p.shape, 0.5).add_(at::arange(p.shape.back()), 1e-4);
  };
  write("master", [&](const model::Parameter& p) { return std::pair(p.name, value(p)); });
  write("buffer", [&](const model::Parameter& p) {
    const auto quantizer = model::build_quantizer(plan, p);
    return std::pair(model::quantizer_tensor(p.name, model::kScalesInUse),
                     quantizer ? quantizer->encode(value(p)).scales : at::Tensor());
  });
  model::write_manifest(run, manifest);
  tests::reshard(run, 4);
  return model::inspect(run);
}

TEST(ExportMemory, IsThatOfItsLargestMatrixAndNotOfTheModel) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "this kernel does not give back the high-water mark of memory";
  const tests::TempFolder folder;
  const model::CheckpointInfo run = write_run(folder.path());
  ASSERT_GT(run.config.parameters() * 4, 130 * kMiB);
  for (const char* layout : {"sterna", "dense"}) {
    const auto format = tests::make_format(layout);
    // Code that is used for the first time is memory too.
    export_folder(open_source(run), *format, folder / (std::string("warm-") + layout));
    const tests::PeakMemory peak;
    export_folder(open_source(run), *format, folder / layout);
    // Master, values, codes and what is packed of them, and what an encoder needs meanwhile.
    EXPECT_LT(peak.bytes(), 5 * kLargest + 20 * kMiB) << layout;
    EXPECT_EQ(tests::read_file(folder / layout / "SHA256SUMS"),
              tests::read_file(folder / (std::string("warm-") + layout) / "SHA256SUMS"));
  }
}

}  // namespace
}  // namespace sterna::exporter
