// A manifest that lacks what a run is continued with is a damaged one, whatever its files say.
#include "trainer/model/run_checkpoint.h"

#include <numeric>

#include <nlohmann/json.hpp>

#include "tests/io/support.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/checkpoint_tensors.h"

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

/// Rows 0 to 5 of a tensor [5, 2], in the files of three ranks: two rows, none, three.
class Slices : public testing::Test {
 protected:
  void SetUp() override {
    std::iota(values_.begin(), values_.end(), 0.0f);
    manifest_.tensors = {{"w", "master", io::Dtype::kF32, {5, 2}, {}}};
    add(0, 2, 1);
    add(2, 5, 3);
  }

  void add(int64_t begin, int64_t end, int64_t number) {
    const std::string file = shard_file("master", number - 1, 3);
    io::write_safetensors(
        folder_ / file,
        {{"w",
          io::Dtype::kF32,
          {end - begin, 2},
          std::as_bytes(std::span(values_).subspan(2 * begin, 2 * (end - begin)))}});
    manifest_.tensors[0].slices.push_back({file, begin, end});
  }

  Tensor read(int64_t begin, int64_t end) const {
    return CheckpointTensors(folder_, manifest_).read(manifest_.tensors[0], begin, end);
  }

  tests::TempFolder folder_;
  std::vector<float> values_ = std::vector<float>(10);
  Manifest manifest_;
};

TEST_F(Slices, GiveAnyRowsOfTheTensor) {
  const Tensor whole = at::arange(10, at::kFloat).view({5, 2});
  for (int64_t begin = 0; begin <= 5; ++begin)
    for (int64_t end = begin; end <= 5; ++end)
      EXPECT_TRUE(at::equal(read(begin, end), whole.slice(0, begin, end))) << begin << " " << end;
}

TEST_F(Slices, AreOpenedWhereTheirRowsAreWantedAndNowhereElse) {
  std::filesystem::remove(folder_ / "master-00001-of-00003.safetensors");
  EXPECT_EQ(read(2, 4).size(0), 2);
  EXPECT_HAS(tests::message_of<io::FileError>([&] { read(1, 4); }), "master-00001-of-00003");
}

TEST_F(Slices, ThatLeaveAHoleAreRefusedWhateverRowsAreWanted) {
  manifest_.tensors[0].slices[1].begin = 3;
  EXPECT_HAS(tests::message_of<io::FileError>([&] { read(0, 1); }), "does not have the rows");
  manifest_.tensors[0].slices.pop_back();
  EXPECT_HAS(tests::message_of<io::FileError>([&] { read(0, 1); }), "missing behind row 2");
}

TEST(ShardFile, SaysItsRankWhereThereAreSeveral) {
  EXPECT_EQ(shard_file("quant", 0, 1), "quant.safetensors");
  EXPECT_EQ(shard_file("quant", 0, 2), "quant-00001-of-00002.safetensors");
  EXPECT_EQ(shard_file("ema", 122, 4096), "ema-00123-of-04096.safetensors");
}

}  // namespace
}  // namespace sterna::model
