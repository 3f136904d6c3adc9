// A manifest that lacks what a run is continued with is a damaged one, whatever its files say.
#include "trainer/model/run_checkpoint.h"

#include <nlohmann/json.hpp>

#include "tests/io/support.h"

namespace sterna::model {
namespace {

using nlohmann::json;

class ManifestFile : public testing::Test {
 protected:
  void SetUp() override {
    Manifest manifest;
    manifest.stage = "train";
    manifest.hashes = {{"tokenizer", "t"}, {"data", "d"}};
    for (const char* key : {"blocks", "skipped", "bad_in_row", "applied", "best", "best_step"})
      manifest.state[key] = 1;
    manifest.files = {{"a.safetensors", "0"}};
    for (const char* kind : {"moment1", "moment2"})
      manifest.tensors.push_back({"w", kind, io::Dtype::kF32, {2}, {{"a.safetensors", 0, 2}}});
    write_manifest(folder_.path(), manifest);
    whole_ = json::parse(tests::read_file(folder_ / "manifest.json"));
  }

  /// What is said of the manifest with this change.
  std::string error_of(const json& patch) {
    const json changed = whole_.patch(json::array({patch}));
    tests::write_file(folder_ / "manifest.json", changed.dump());
    return tests::message_of<io::FileError>([&] { read_manifest(folder_.path()); });
  }

  tests::TempFolder folder_;
  json whole_;
};

TEST_F(ManifestFile, IsReadBackWhole) {
  EXPECT_NO_THROW(read_manifest(folder_.path()));
}

TEST_F(ManifestFile, ThatLacksAKeyIsRefusedWithTheKey) {
  for (const char* key :
       {"stage", "step", "source", "recipe", "hashes", "state", "files", "tensors"})
    EXPECT_HAS(error_of({{"op", "remove"}, {"path", "/" + std::string(key)}}), key);
  EXPECT_HAS(error_of({{"op", "remove"}, {"path", "/hashes/data"}}), "hashes lacks 'data'");
  EXPECT_HAS(error_of({{"op", "remove"}, {"path", "/state/applied"}}), "state lacks 'applied'");
  EXPECT_HAS(error_of({{"op", "remove"}, {"path", "/files/a.safetensors"}}),
             "files lacks 'a.safetensors'");
  EXPECT_HAS(error_of({{"op", "remove"}, {"path", "/tensors/1"}}), "one moment without the other");
  EXPECT_HAS(error_of({{"op", "replace"}, {"path", "/stage"}, {"value", "trian"}}),
             "stage 'trian' is neither blockwise nor train");
}

}  // namespace
}  // namespace sterna::model
