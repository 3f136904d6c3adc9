// A manifest that lacks what a run is continued with is a damaged one, whatever its files say.
#include "trainer/model/run_checkpoint.h"

#include <nlohmann/json.hpp>

#include "tests/io/support.h"
#include "trainer/io/safetensors.h"

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
    json changed = whole_.patch(json::array({patch}));
    changed.erase("sha256");  // as an older program writes it
    return error_of_text(changed.dump());
  }

  std::string error_of_text(const std::string& text) {
    tests::write_file(folder_ / "manifest.json", text);
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

TEST_F(ManifestFile, ThatWasChangedAnywhereButInItsSourceIsRefused) {
  const std::string text = tests::read_file(folder_ / "manifest.json");
  const auto content = [](const std::string& of) {
    json all = json::parse(of, nullptr, /*allow_exceptions=*/false);
    if (all.is_object())
      all.erase("source");
    return all;
  };
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const json left = content(flipped);
    // White space says nothing, and a hash under another name is one of an older program.
    if (left == content(text) || (left.is_object() && !left.contains("sha256")))
      continue;
    EXPECT_NE(error_of_text(flipped), "") << flipped;
    ++refused;
  }
  EXPECT_GT(refused, 6 * text.size());
  json moved = whole_;
  moved["source"] = "/elsewhere";
  tests::write_file(folder_ / "manifest.json", moved.dump());
  EXPECT_NO_THROW(read_manifest(folder_.path()));
  moved["step"] = 7;
  EXPECT_HAS(error_of_text(moved.dump()), "remove the key \"sha256\"");
  moved.erase("sha256");
  tests::write_file(folder_ / "manifest.json", moved.dump());
  EXPECT_EQ(read_manifest(folder_.path()).step, 7);
}

TEST_F(ManifestFile, ThatNamesWhatCannotBeIsRefused) {
  const auto put = [&](const char* path, const json& value) {
    return error_of({{"op", "add"}, {"path", path}, {"value", value}});
  };
  EXPECT_HAS(put("/files/..~1x", "0"), "files names '../x', which is no plain file name");
  EXPECT_HAS(put("/files/", "0"), "files names ''");
  EXPECT_HAS(put("/state/applied", 1e300), "state 'applied' is no whole number");
  EXPECT_HAS(put("/state/applied", 0.5), "state 'applied' is no whole number");
  EXPECT_HAS(put("/step", -1), "step -1 is below 0");
  EXPECT_HAS(put("/tensors/-", whole_["tensors"][0]), "lists moment1 w twice");
  EXPECT_HAS(error_of_text("{\"step\": 1, \"step\": 2}"), "twice");
  EXPECT_HAS(error_of_text(""), "manifest.json: not a manifest");
}

// 8 TB were asked for before the file was looked at.
TEST_F(ManifestFile, ThatListsMoreThanItsFileHoldsIsRefusedBeforeMemoryIsAskedFor) {
  const std::vector<float> values = {1, 2};
  io::write_safetensors(folder_ / "a.safetensors",
                        {{"w", io::Dtype::kF32, {2}, std::as_bytes(std::span(values))}});
  Manifest manifest = read_manifest(folder_.path());
  EXPECT_EQ(read_kind(folder_, manifest, "moment1").at("w").sizes(), at::IntArrayRef({2}));
  const auto error_with = [&](std::vector<int64_t> shape, int64_t begin, int64_t end) {
    manifest.tensors[0].shape = std::move(shape);
    manifest.tensors[0].slices = {{"a.safetensors", begin, end}};
    return tests::message_of<io::FileError>([&] { read_kind(folder_, manifest, "moment1"); });
  };
  const int64_t much = int64_t{1} << 41;
  EXPECT_HAS(error_with({much}, 0, much), "does not have the rows");
  EXPECT_HAS(error_with({2, much}, 0, 2), "does not have the rows");
  EXPECT_HAS(error_with({-2}, 0, -2), "manifest.json: w: a shape");
  EXPECT_HAS(error_with({2}, 1, 2), "does not have the rows");
  EXPECT_HAS(error_with({2}, 0, 1), "does not have the rows");
  EXPECT_HAS(error_with({2, 0}, 0, -5), "does not have the rows");
  EXPECT_HAS(error_with({2}, INT64_MIN, 1), "does not have the rows");  // the difference overflows
}

}  // namespace
}  // namespace sterna::model
