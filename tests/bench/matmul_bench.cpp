// Packed matrix products on one thread, beside LibTorch's and oneDNN's and beside the machine's
// roofs: matmul_bench [rounds [K N [batch ...]]]. Weights are read from 256 MiB in turn, so that no
// cache holds them; activations are quantized within the time of a product.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "kernels/matmul.h"
#include "kernels/roof.h"
#include "tests/bench/contest.h"

namespace {

using namespace sterna::kernels;
using sterna::bench::Contest;

constexpr int64_t kCold = int64_t{256} << 20;

struct Size {
  int64_t k = 0;
  int64_t n = 0;
  int64_t m = 0;
};

/// A matrix and copies of it, to be read in turn.
class Copies {
 public:
  /// @param code_min  of two- or four-bit codes; with `dint`, the symmetric one
  Copies(const Size& size, int64_t bits, int64_t group, bool dint = false) {
    const int64_t per_row = size.k / group;
    std::mt19937 random(1);
    std::vector<int8_t> codes(static_cast<size_t>(size.n * size.k));
    const auto count = static_cast<unsigned>(dint ? 15 : bits == 2 ? 3 : 1 << bits);
    for (int8_t& code : codes)
      code = static_cast<int8_t>(random() % count);
    const std::vector<float> scales(static_cast<size_t>(size.n * per_row), 0.015625f);
    std::vector<float> levels;
    for (int i = -6; i <= 6; ++i) {
      levels.push_back(static_cast<float>(i));
      if (i == -1 || i == 0)
        levels.push_back(static_cast<float>(i) + 0.5f);
    }
    WeightCodes w;
    w.n = size.n;
    w.k = size.k;
    w.group = group;
    w.bits = bits;
    w.codes = codes.data();
    w.scales = scales.data();
    w.offset = bits == 2 ? 1 : static_cast<float>(1 << (bits - 1));
    if (dint) {
      w.levels = levels.data();
      w.level_count = 15;
      w.level_rows = 1;
    }
    if (plan_packing(w, &matrix_) != Status::kOk)
      std::abort();
    count_ = std::max<int64_t>(kCold / matrix_.bytes(), 1);
    room_.reset(std::aligned_alloc(
        4096, static_cast<size_t>(count_ * matrix_.bytes() + 4095) / 4096 * 4096));
    auto* first = static_cast<uint8_t*>(room_.get());
    pack(w, matrix_, first);
    for (int64_t i = 1; i < count_; ++i)
      std::memcpy(first + i * matrix_.bytes(), first, static_cast<size_t>(matrix_.bytes()));
  }

  PackedMatrix at(int64_t round) const {
    PackedMatrix one = matrix_;
    one.panels = static_cast<const uint8_t*>(room_.get()) + round % count_ * matrix_.bytes();
    return one;
  }
  int64_t bytes() const { return matrix_.bytes(); }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  PackedMatrix matrix_;
  int64_t count_ = 0;
  std::unique_ptr<void, Free> room_;
};

/// Activations, and where products go.
struct Tokens {
  at::Tensor x, y;
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;

  explicit Tokens(const Size& s)
      : x(at::randn({s.m, s.k})),
        y(at::empty({s.m, s.n})),
        codes(static_cast<size_t>(s.m * activation_stride(s.k))),
        scales(static_cast<size_t>(s.m)),
        sums(static_cast<size_t>(s.m * s.k / 16)) {}

  void a8(const PackedMatrix& w) {
    QuantizedRows rows{x.size(0), w.k, w.group};
    quantize_rows(
        rows, x.const_data_ptr<float>(), {}, nullptr, {codes.data(), scales.data(), sums.data()});
    rows.codes = codes.data();
    rows.scales = scales.data();
    rows.sums = sums.data();
    matmul_a8(w, rows, {0, w.n}, y.mutable_data_ptr<float>());
  }
  void a16(const PackedMatrix& w) {
    matmul_a16(w, x.size(0), x.const_data_ptr<float>(), {0, w.n}, y.mutable_data_ptr<float>());
  }
};

at::Tensor boxed(const char* name, std::vector<c10::IValue> arguments) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
  op.callBoxed(&arguments);
  return arguments[0].toTensor();
}

void add_peers(Contest& contest, const Size& s, Tokens& tokens, double ops) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    std::vector<at::Tensor> weights;
    const int64_t bytes = s.n * s.k * static_cast<int64_t>(c10::elementSize(dtype));
    for (int64_t i = 0; i < std::max<int64_t>(kCold / bytes, 1); ++i)
      weights.push_back(at::randn({s.n, s.k}, dtype));
    const at::Tensor x = tokens.x.to(dtype);
    contest.add(
        dtype == at::kFloat ? "LibTorch fp32" : "LibTorch bf16", ops, [weights, x](int64_t round) {
          at::linear(x, weights[static_cast<size_t>(round) % weights.size()]);
        });
  }
  std::vector<at::Tensor> weights;
  const at::Tensor w = at::randint(-127, 128, {s.n, s.k}).to(at::kChar);
  for (int64_t i = 0; i < std::max<int64_t>(kCold / w.numel(), 1); ++i)
    weights.push_back(boxed("onednn::qlinear_prepack", {w, std::vector<int64_t>{s.m, s.k}}));
  // Of unsigned activations: what AVX-512 VNNI multiplies, oneDNN has no fast path for signed ones.
  const at::Tensor x = at::randint(1, 256, {s.m, s.k}).to(at::kByte);
  const at::Tensor scale = at::ones({s.n}), zero = at::zeros({s.n}, at::kLong);
  contest.add("oneDNN u8s8 (packed, x quantized before)", ops, [=](int64_t round) {
    boxed("onednn::qlinear_pointwise",
          {x,
           0.5,
           int64_t{128},
           weights[static_cast<size_t>(round) % weights.size()],
           scale,
           zero,
           c10::IValue(),
           1.0,
           int64_t{0},
           at::kFloat,
           "none",
           c10::List<std::optional<at::Scalar>>(),
           ""});
  });
}

void report(const Contest& contest, const Size& s, size_t roofs, size_t peers) {
  std::printf("\nK %ld, N %ld, batch %ld\n", s.k, s.n, s.m);
  for (size_t i = 0; i < contest.size(); ++i) {
    std::printf("  %-42s %10.1f us %9.1f G/s",
                contest.name(i).c_str(),
                contest.microseconds(i),
                contest.rate(i));
    for (size_t roof = 0; i >= roofs && roof < roofs; ++roof)
      std::printf("  %3.0f %%", 100 * contest.ratio(i, roof));
    for (size_t peer = roofs; i >= roofs + peers && peer < roofs + peers; ++peer)
      std::printf("  x%.2f", contest.ratio(i, peer));
    std::printf("\n");
  }
}

/// One token: rates are bytes of weights, the roofs are reads.
/// More: rates are operations, the roof is the product of bytes.
void bench(const Size& s, int64_t rounds) {
  Tokens tokens(s);
  const double ops = 2.0 * static_cast<double>(s.k * s.n * s.m);
  Contest contest;
  std::vector<uint8_t> cold;
  if (s.m == 1) {
    cold.assign(static_cast<size_t>(kCold), 1);
    const int64_t piece = std::min<int64_t>(kCold, int64_t{16} << 20);
    for (const int streams : {1, 8})
      contest.add("roof: read, streams " + std::to_string(streams),
                  static_cast<double>(piece),
                  [&cold, piece, streams](int64_t round) {
                    read_roof(cold.data() + round % (kCold / piece) * piece, piece, streams);
                  });
  } else {
    const int64_t turns = 400000;
    contest.add("roof: products of bytes",
                static_cast<double>(byte_product_roof(turns)),
                [](int64_t) { byte_product_roof(turns); });
  }
  const size_t roofs = contest.size();
  if (s.m > 1)
    add_peers(contest, s, tokens, ops);
  const size_t peers = contest.size() - roofs;
  std::vector<std::unique_ptr<Copies>> all;
  const auto add = [&](const char* name, int64_t bits, int64_t group, bool dint, bool a8) {
    all.push_back(std::make_unique<Copies>(s, bits, group > 0 ? group : s.k, dint));
    const Copies& w = *all.back();
    contest.add(name,
                s.m == 1 ? static_cast<double>(w.bytes()) : ops,
                [&w, &tokens, a8](int64_t i) { a8 ? tokens.a8(w.at(i)) : tokens.a16(w.at(i)); });
  };
  add("ternary a8", 2, 0, false, true);
  add("ternary a8, group 128", 2, 128, false, true);
  add("ternary a8, group 64", 2, 64, false, true);
  add("int4 a8", 4, 0, false, true);
  add("int4 a8, group 128", 4, 128, false, true);
  add("int4 a8, group 64", 4, 64, false, true);
  add("dINT4 a8", 4, 0, true, true);
  add("int8 a8", 8, 0, false, true);
  add("ternary a16", 2, 0, false, false);
  add("int4 a16", 4, 0, false, false);
  contest.run(rounds);
  report(contest, s, roofs, peers);
}

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  std::printf("variant %s; this machine has", name_of(cpu_level()));
  for (const CpuLevel level : kCpuLevels)
    std::printf(" %s%s", supports(level) ? "" : "no ", name_of(level));
  std::printf(", one thread\n");
  const auto number = [&](int i, int64_t fallback) {
    return argc > i ? std::atoll(argv[i]) : fallback;
  };
  const int64_t rounds = number(1, 15);
  std::vector<std::pair<int64_t, int64_t>> sizes{{2048, 2048}, {4096, 4096}, {4096, 11008}};
  if (argc > 3)
    sizes = {{number(2, 0), number(3, 0)}};
  std::vector<int64_t> batches{1, 16, 256};
  if (argc > 4)
    batches.clear();
  for (int i = 4; i < argc; ++i)
    batches.push_back(std::atoll(argv[i]));
  for (const auto& [k, n] : sizes)
    for (const int64_t m : batches)
      bench({k, n, m}, rounds);
}
