#include "trainer/run/teacher_rows.h"

#include <cstring>

namespace sterna::run {
namespace {

using at::Tensor;

int64_t id_bytes(int64_t vocab) {
  return vocab <= 65536 ? 2 : 4;
}

void append(std::vector<std::byte>& row, const Tensor& values) {
  const Tensor whole = values.cpu().contiguous();
  const auto* bytes = static_cast<const std::byte*>(whole.const_data_ptr());
  row.insert(row.end(), bytes, bytes + whole.nbytes());
}

// Little-endian, as the machine: the low bytes of an id come first.
void append_ids(std::vector<std::byte>& row, const Tensor& ids, int64_t width) {
  const Tensor whole = ids.cpu().contiguous();
  const auto* id = whole.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < whole.numel(); ++i) {
    const auto* bytes = reinterpret_cast<const std::byte*>(id + i);
    row.insert(row.end(), bytes, bytes + width);
  }
}

void read_ids(const std::byte* from, int64_t width, Tensor ids) {
  auto* id = ids.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.numel(); ++i) {
    id[i] = 0;
    std::memcpy(id + i, from + i * width, static_cast<size_t>(width));
  }
}

}  // namespace

int64_t TeacherRows::bytes_per_token() const {
  if (hidden())
    return 2 * width;
  return k * id_bytes(vocab) + (k + 1) * static_cast<int64_t>(at::elementSize(dtype));
}

int64_t TeacherRows::bytes() const {
  return (tokens * bytes_per_token() + 7) / 8 * 8;
}

std::vector<std::vector<std::byte>> TeacherRows::pack(const Tensor& states,
                                                      const distill::TopWords& words) const {
  std::vector<std::vector<std::byte>> rows(static_cast<size_t>(states.size(0)));
  for (int64_t b = 0; b < states.size(0); ++b) {
    std::vector<std::byte>& row = rows[static_cast<size_t>(b)];
    row.reserve(static_cast<size_t>(bytes()));
    if (hidden()) {
      append(row, states[b].to(at::kBFloat16));
    } else {
      append_ids(row, words.ids.narrow(0, b * tokens, tokens), id_bytes(vocab));
      append(row, words.log_p.narrow(0, b * tokens, tokens).to(dtype));
    }
    row.resize(static_cast<size_t>(bytes()));
  }
  return rows;
}

void TeacherRows::unpack(const std::vector<std::span<const std::byte>>& rows,
                         distill::HeadInputs& head) const {
  const auto samples = static_cast<int64_t>(rows.size());
  if (hidden()) {
    head.teacher_hidden = at::empty({samples, tokens, width}, at::kBFloat16);
    for (int64_t b = 0; b < samples; ++b) {
      const Tensor row = head.teacher_hidden[b];
      std::memcpy(row.mutable_data_ptr(), rows[static_cast<size_t>(b)].data(), row.nbytes());
    }
    return;
  }
  head.teacher_top.ids = at::empty({samples, tokens, k}, at::kLong);
  Tensor log_p = at::empty({samples, tokens, k + 1}, dtype);
  for (int64_t b = 0; b < samples; ++b) {
    const std::byte* bytes = rows[static_cast<size_t>(b)].data();
    read_ids(bytes, id_bytes(vocab), head.teacher_top.ids[b]);
    const Tensor row = log_p[b];
    std::memcpy(row.mutable_data_ptr(), bytes + tokens * k * id_bytes(vocab), row.nbytes());
  }
  // Rounding has moved the sum a little from 1.
  head.teacher_top.log_p = log_p.to(at::kFloat).log_softmax(2);
}

}  // namespace sterna::run
