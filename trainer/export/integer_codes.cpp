#include "trainer/export/integer_codes.h"

#include <cmath>

#include "quant/pack.h"
#include "recipes/user_error.h"
#include "trainer/export/tensors.h"
#include "trainer/model/packed_matrix.h"

namespace sterna::exporter {
namespace {

constexpr const char* kElsewhere = "; expected \"sterna\", which holds every scheme, or \"dense\"";

std::string list_of(const std::vector<int64_t>& numbers) {
  std::string text;
  for (const int64_t each : numbers)
    text += (text.empty() ? "" : ", ") + std::to_string(each);
  return text;
}

bool whole(const at::Tensor& zeros) {
  return zeros.eq(zeros.round()).all().item<bool>();
}

[[noreturn]] void refuse_value(const std::string& name, const std::string& what) {
  throw recipes::UserError("tensor '" + name + "': " + what + kElsewhere);
}

}  // namespace

std::optional<std::string> why_no_integers(const quant::Encoded& scheme,
                                           const std::vector<int64_t>& containers) {
  if (scheme.grid == quant::Grid::kLevels)
    return std::string(
               "its codes stand for levels of a table, where this layout has integers "
               "times a scale") +
           kElsewhere;
  if (!scheme.zeros.defined() && scheme.offset != std::floor(scheme.offset))
    return std::string(
               "its levels lie half a step beside the integers, and this layout has no "
               "half-integer zero point") +
           kElsewhere;
  if (!scheme.zeros.defined() && scheme.offset != 0)
    return std::string("its levels are shifted by a number, not by a zero point") + kElsewhere;
  if (scheme.zeros.defined() && !whole(scheme.zeros))
    return std::string("its zero points are no integers") + kElsewhere;
  if (container_of(scheme, containers) == 0)
    return "its codes of " + std::to_string(scheme.bits) +
           " bits do not fit the sizes of this layout, " + list_of(containers) + kElsewhere;
  return std::nullopt;
}

int64_t container_of(const quant::Encoded& scheme, const std::vector<int64_t>& containers) {
  for (const int64_t bits : containers)
    if (bits >= scheme.bits &&
        (scheme.zeros.defined() || scheme.code_min >= -(int64_t{1} << (bits - 1))))
      return bits;
  return 0;
}

IntegerCodes integer_codes(const quant::Encoded& encoded,
                           const std::vector<int64_t>& containers,
                           const std::string& name) {
  if (const auto why = why_no_integers(encoded, containers))
    throw recipes::UserError("tensor '" + name + "': " + *why);
  IntegerCodes result;
  result.bits = container_of(encoded, containers);
  result.symmetric = !encoded.zeros.defined();
  const int64_t k = encoded.codes.size(1);
  result.group = encoded.scales.numel() == 1 ? k : encoded.group;
  const std::vector<int64_t> shape = {encoded.codes.size(0), k / result.group};
  result.code_min = model::smallest_code(result.bits, result.symmetric);
  result.scales = encoded.scales.expand(shape).to(encoded.scale_dtype).contiguous();
  TORCH_CHECK(same_bits(result.scales.to(at::kFloat), encoded.scales.expand(shape).contiguous()),
              name,
              ": scales are not rounded to their declared dtype");
  const int64_t most = result.code_min + (int64_t{1} << result.bits) - 1;
  if (result.symmetric) {
    result.codes = encoded.codes.contiguous();
    if (result.codes.numel() > 0 && result.codes.max().item<int64_t>() > most)
      refuse_value(name, "holds codes above " + std::to_string(most));
    return result;
  }
  const int64_t shift = result.code_min - encoded.code_min;
  result.codes = encoded.codes.add(shift).to(at::kChar).contiguous();
  const at::Tensor zeros = encoded.zeros.add(static_cast<double>(shift));
  const bool fits = zeros.ge(static_cast<double>(result.code_min))
                        .logical_and(zeros.le(static_cast<double>(most)))
                        .all()
                        .item<bool>();
  if (!fits || !whole(zeros))
    refuse_value(name,
                 "has zero points that are no codes of " + std::to_string(result.bits) + " bits");
  result.zeros = zeros.expand(shape).to(at::kChar).contiguous();
  return result;
}

at::Tensor packed_words(const at::Tensor& codes, int64_t bits, int64_t code_min) {
  const at::Tensor bytes = quant::pack_codes(codes, bits, code_min);
  const int64_t words = (bytes.size(1) + 3) / 4;
  at::Tensor padded = at::zeros({bytes.size(0), words * 4}, at::kByte);
  padded.narrow(1, 0, bytes.size(1)).copy_(bytes);
  return padded.view(at::kInt);
}

}  // namespace sterna::exporter
