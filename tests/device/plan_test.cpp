// What a device holds at its fullest against the plan, part by part of `[memory]`.
#include "tests/device/devices.h"
#include "tests/run/spread_fixture.h"
#include "trainer/plan/memory_model.h"

namespace sterna::plan {
namespace {

class PlannedDevice : public tests::OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (!GetParam().is_far())
      GTEST_SKIP() << "a GPU's libraries take more than a model of this size";
    tests::TinyModel shape;
    shape.width = 128;
    shape.inner = 352;
    shape.layers = 8;
    shape.heads = shape.kv_heads = 2;
    tests::write_tiny_model(folder_.path(), shape);
  }

  MemoryEstimate planned(const std::string& offload, bool recompute) const {
    recipes::Recipe recipe = recipes::Recipe::parse(
        "[kd]\nloss = 'tsld'\n[quant]\nweight = 'twn'\n[train]\nsteps = 3\nseq_len = 32\n"
        "batch = 8\n[memory]\noffload = '" +
            offload + "'\n",
        "test");
    recipe.set("model.path=" + folder_.path().string());
    recipe.set(std::string("train.recompute=") + (recompute ? "true" : "false"));
    Workload work = workload_of(run::open_shapes(recipe));
    work.settings.train.device = "cuda";
    return estimate_memory(work, share_among(work, 1), /*program=*/0);
  }

  /// Of some steps.
  double measured(const std::string& offload, bool recompute) const {
    const int64_t before = GetParam().bytes();
    GetParam().forget_peak();
    const auto world = dist::make_single();
    run::Spread spread;
    spread.recompute = recompute;
    spread.offloads = offload == "activations";
    spread.places = {device(), offload == "optimizer" ? at::Device(at::kCPU) : device()};
    run::SpreadRank rank(folder_.path(), *world, spread);
    for (int64_t step = 0; step < 3; ++step)
      EXPECT_TRUE(rank.run(step).outcome.applied);
    return static_cast<double>(GetParam().peak() - before);
  }

  const tests::TempFolder folder_;
};

TEST_P(PlannedDevice, HoldsWhatThePlanSaysWhateverIsOffloaded) {
  std::map<std::string, std::pair<double, double>> totals;
  for (const auto& [offload, recompute] : {std::pair<std::string, bool>{"", false},
                                           {"optimizer", false},
                                           {"", true},
                                           {"activations", true}}) {
    const double plan = planned(offload, recompute).total();
    const double peak = measured(offload, recompute);
    const std::string name = offload + (recompute ? " recomputed" : "");
    std::printf("%s: measured %.2f MB, planned %.2f\n", name.c_str(), peak / 1e6, plan / 1e6);
    EXPECT_NEAR(peak, plan, 0.1 * plan) << name;
    totals[name] = {plan, peak};
  }
  // What each brings, which a total of other things would hide.
  const auto saved = [&](const std::string& without, const std::string& with) {
    const double plan = totals[without].first - totals[with].first;
    EXPECT_NEAR(totals[without].second - totals[with].second, plan, 0.1 * plan) << with;
  };
  saved("", "optimizer");
  saved(" recomputed", "activations recomputed");
}

STERNA_ON_DEVICES(PlannedDevice);

}  // namespace
}  // namespace sterna::plan
