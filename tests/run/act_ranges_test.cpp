// Ranges of activations among ranks: all learn what any of them saw.
#include "trainer/run/act_ranges.h"

#include <thread>

#include "tests/model/definition.h"
#include "tests/run/meeting.h"
#include "trainer/model/activations.h"

namespace sterna::run {
namespace {

model::Decoder decoder_that_learns() {
  model::Decoder decoder(tests::small_config("llama"), at::kFloat);
  auto recipe = recipes::Recipe::parse(
      "[act]\nkey = \"static_ema\"\nvalue = { name = \"static_ema\", decay = 0.5 }\n", "test");
  model::attach_activations(decoder, quant::ActPlan::read(recipe.section("act")));
  return decoder;
}

quant::ActQuantizer& site(model::Decoder& decoder, quant::ActKind kind) {
  for (const model::ActSite& each : decoder.act_sites())
    if (each.kind == kind)
      return **each.quantizer;
  throw std::logic_error("no such site");
}

at::Tensor range(model::Decoder& decoder, quant::ActKind kind) {
  return site(decoder, kind).buffers().front().tensor;
}

TEST(ActRanges, AreThoseOfAllRanksTogether) {
  constexpr int64_t kRanks = 3;
  Meeting meeting(kRanks);
  std::vector<model::Decoder> decoders;
  for (int64_t rank = 0; rank < kRanks; ++rank)
    decoders.push_back(decoder_that_learns());
  std::vector<std::thread> ranks;
  for (int64_t rank = 0; rank < kRanks; ++rank)
    ranks.emplace_back([&, rank] {
      MeetingWorld world(meeting, rank);
      model::Decoder& decoder = decoders[static_cast<size_t>(rank)];
      ActRanges ranges(decoder);
      for (const float scale : {1.0f, 3.0f}) {  // two steps
        ranges.start();
        // Keys: rank 1 computes none (its attention was stood in for).
        if (rank != 1)
          site(decoder, quant::ActKind::kKey).forward(at::tensor({-1.0f - rank, 2.0f}) * scale);
        site(decoder, quant::ActKind::kValue).forward(at::full({2}, scale * rank));
        ranges.finish(world);
      }
    });
  for (std::thread& rank : ranks)
    rank.join();
  for (model::Decoder& decoder : decoders) {
    EXPECT_TRUE(at::allclose(range(decoder, quant::ActKind::kKey),
                             at::tensor({-3.0f, 2.0f}) * (0.95 + 0.05 * 3)));
    EXPECT_TRUE(at::equal(range(decoder, quant::ActKind::kValue), at::tensor({0.0f, 4.0f})));
  }
}

TEST(ActRanges, OfADroppedStepAreForgotten) {
  model::Decoder decoder = decoder_that_learns();
  ActRanges ranges(decoder);
  const auto world = dist::make_single();
  ranges.start();
  site(decoder, quant::ActKind::kValue).forward(at::tensor({-100.0f, 100.0f}));
  ranges.start();
  site(decoder, quant::ActKind::kValue).forward(at::tensor({-1.0f, 1.0f}));
  ranges.finish(*world);
  EXPECT_TRUE(at::equal(range(decoder, quant::ActKind::kValue), at::tensor({-1.0f, 1.0f})));
  EXPECT_FALSE(site(decoder, quant::ActKind::kKey).ready()) << "it saw nothing";
}

}  // namespace
}  // namespace sterna::run
