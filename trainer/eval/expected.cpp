#include "trainer/eval/expected.h"

#include <cstring>
#include <limits>
#include <sstream>

#include "recipes/user_error.h"

namespace sterna::eval {
namespace {

using at::Tensor;
using recipes::UserError;

class Comparison {
 public:
  Comparison(const model::Decoder& decoder, const io::TensorFile& file)
      : decoder_(decoder), file_(file), ids_(integers("input_ids")) {
    if (ids_.dim() != 2 || ids_.numel() == 0)
      refuse("input_ids", "expected at least one id, as [B, T]");
    const int64_t vocab = decoder.config().vocab;
    if (ids_.min().item<int64_t>() < 0 || ids_.max().item<int64_t>() >= vocab)
      refuse("input_ids",
             "expected ids from 0 to " + std::to_string(vocab - 1) + ", found " +
                 std::to_string(ids_.min().item<int64_t>()) + " to " +
                 std::to_string(ids_.max().item<int64_t>()));
    const model::DecoderConfig& config = decoder.config();
    if (config.learned_positions && ids_.size(1) > config.max_positions)
      refuse("input_ids",
             "expected at most " + std::to_string(config.max_positions) + " ids a row, found " +
                 std::to_string(ids_.size(1)));
    positions_ = at::arange(ids_.size(1));
  }

  std::vector<TensorError> run() {
    check_mask();
    if (file_.find("topk_indices") != nullptr && file_.find("topk_values") == nullptr)
      refuse("topk_indices", "stands alone; topk_values [B, T, K] must come with it");
    forward();
    std::vector<TensorError> errors;
    for (const io::TensorView& view : file_.tensors()) {
      if (view.name != "input_ids" && view.name != "attention_mask" && view.name != "topk_indices")
        errors.push_back(compare(view));
    }
    if (errors.empty())
      refuse("input_ids",
             "nothing to compare with beside it; expected logits, hidden_states.i, attentions.i, "
             "logsumexp or topk_values");
    return errors;
  }

 private:
  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    throw UserError(file_.path().string() + ": " + name + ": " + why);
  }

  Tensor floats(const io::TensorView& view) const {
    const Tensor values = at::empty(view.shape, at::kFloat);
    io::to_float(view, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
    return values;
  }

  Tensor integers(const std::string& name) const {
    const io::TensorView& view = file_.at(name);
    const bool wide = view.dtype == io::Dtype::kI64;
    if (!wide && view.dtype != io::Dtype::kI32)
      refuse(name, "expected I64 or I32, found " + std::string(io::dtype_name(view.dtype)));
    const Tensor values = at::empty(view.shape, wide ? at::kLong : at::kInt);
    if (!view.bytes.empty())
      std::memcpy(values.data_ptr(), view.bytes.data(), view.bytes.size());
    return values.to(at::kLong);
  }

  void check_mask() const {
    if (file_.find("attention_mask") != nullptr &&
        !integers("attention_mask").eq(1).all().item<bool>())
      refuse("attention_mask", "padding is not supported for this family; give whole sequences");
  }

  void forward() {
    const auto cache = kvcache::make_stateless(decoder_.attention());
    Tensor x = decoder_.embed(ids_, positions_);
    const int64_t layers = decoder_.config().layers;
    for (int64_t i = 0; i < layers; ++i) {
      hidden_.push_back(x);
      x = decoder_.layer(i, x, positions_, *cache);
    }
    hidden_.push_back(decoder_.final_norm(x));
    logits_ = decoder_.head(hidden_.back()).to(at::kFloat);
  }

  // Number behind the dot of "hidden_states.3".
  size_t index(const std::string& name, size_t count) const {
    const std::string digits = name.substr(name.find('.') + 1);
    const bool number = !digits.empty() && digits.size() < 6 &&
                        digits.find_first_not_of("0123456789") == std::string::npos;
    if (!number || std::stoul(digits) >= count)
      refuse(name, "this model has " + std::to_string(count) + " of them");
    return std::stoul(digits);
  }

  Tensor attention(const std::string& name) {
    const int64_t layers = decoder_.config().layers;
    if (!eager_) {
      eager_ = kvcache::make_eager(decoder_.attention());
      decoder_.hidden(ids_, positions_, *eager_);
    }
    return eager_->probabilities(static_cast<int64_t>(index(name, layers)));
  }

  Tensor computed(const std::string& name) {
    if (name == "logits")
      return logits_;
    if (name == "logsumexp")
      return logits_.logsumexp(-1);
    if (name == "topk_values")
      return logits_.gather(-1, integers("topk_indices"));
    if (name.rfind("hidden_states.", 0) == 0)
      return hidden_[index(name, hidden_.size())].to(at::kFloat);
    if (name.rfind("attentions.", 0) == 0)
      return attention(name);
    refuse(name,
           "not known; expected logits, hidden_states.i, attentions.i, logsumexp, topk_values");
  }

  TensorError compare(const io::TensorView& view) {
    const Tensor mine = computed(view.name);
    const Tensor theirs = floats(view);
    if (theirs.numel() == 0)
      refuse(view.name, "is empty");
    if (mine.sizes() != theirs.sizes()) {
      std::ostringstream text;
      text << "the model gives " << mine.sizes() << ", the file holds " << theirs.sizes();
      refuse(view.name, text.str());
    }
    // A NaN on either side counts as infinitely far.
    const Tensor error =
        (mine - theirs).abs().to(at::kDouble).nan_to_num(std::numeric_limits<double>::infinity());
    return {view.name, error.max().item<double>(), error.mean().item<double>()};
  }

  const model::Decoder& decoder_;
  const io::TensorFile& file_;
  Tensor ids_;
  Tensor positions_;
  std::vector<Tensor> hidden_;
  Tensor logits_;
  std::unique_ptr<kvcache::EagerAttention> eager_;
};

}  // namespace

kvcache::RopeConfig with_bf16_frequencies(const kvcache::RopeConfig& rope) {
  if (rope.type == "dynamic" || rope.type == "longrope")
    throw UserError("verify.rope = \"bf16\": not for the rope type '" + rope.type +
                    "', whose frequencies depend on the length");
  const Tensor exact = kvcache::Rope(rope).inverse_frequencies().to(at::kDouble);
  const Tensor ratio = exact / exact.to(at::kFloat).to(at::kBFloat16).to(at::kDouble);
  kvcache::RopeConfig rounded = rope;
  rounded.divisors.resize(exact.numel(), 1.0);
  for (size_t i = 0; i < rounded.divisors.size(); ++i)
    rounded.divisors[i] *= ratio[static_cast<int64_t>(i)].item<double>();
  return rounded;
}

std::vector<TensorError> compare_with_expected(const model::Decoder& decoder,
                                               const io::TensorFile& expected) {
  const at::NoGradGuard no_grad;
  return Comparison(decoder, expected).run();
}

}  // namespace sterna::eval
