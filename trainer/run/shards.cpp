#include "trainer/run/shards.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <nlohmann/json.hpp>

namespace sterna::run {
namespace {

using nlohmann::json;

/// What one rank says of one of its parts.
struct Held {
  int64_t rank;
  Rows rows;
  std::vector<int64_t> shape;  ///< of the whole tensor
  int64_t bytes;               ///< of these rows
};

/// By kind and name.
using Holdings = std::map<std::pair<std::string, std::string>, std::vector<Held>>;

std::vector<int64_t> whole_shape(const Part& part) {
  std::vector<int64_t> shape = part.values.sizes().vec();
  if (!shape.empty())
    shape[0] = part.rows.total;
  return shape;
}

std::string list_of(const std::vector<Part>& parts) {
  json list = json::array();
  for (const Part& part : parts)
    list.push_back({part.kind,
                    part.name,
                    part.rows.begin,
                    part.rows.end,
                    part.rows.total,
                    whole_shape(part),
                    part.values.nbytes()});
  return list.dump();
}

Holdings holdings_of(const std::vector<std::string>& lists) {
  Holdings holdings;
  for (size_t rank = 0; rank < lists.size(); ++rank)
    for (const json& each : json::parse(lists[rank]))
      holdings[{each.at(0), each.at(1)}].push_back({static_cast<int64_t>(rank),
                                                    {each.at(2), each.at(3), each.at(4)},
                                                    each.at(5).get<std::vector<int64_t>>(),
                                                    each.at(6)});
  return holdings;
}

/// Of those that hold the rows from `begin` on the one with the least to write so far.
const Held& writer_of_rows(const std::string& name,
                           const std::vector<Held>& held,
                           int64_t begin,
                           const std::vector<int64_t>& load) {
  const Held* best = nullptr;
  for (const Held& each : held) {
    if (each.rows.begin != begin)
      continue;
    TORCH_CHECK(best == nullptr || best->rows.end == each.rows.end,
                name,
                ": ranks ",
                best->rank,
                " and ",
                each.rank,
                " hold rows that overlap");
    if (best == nullptr || load[each.rank] < load[best->rank])
      best = &each;
  }
  TORCH_CHECK(best != nullptr, name, ": no rank holds the rows from ", begin, " on");
  return *best;
}

model::CheckpointTensor listed(const std::string& kind,
                               const std::string& name,
                               const std::vector<Held>& held,
                               std::vector<int64_t>& load) {
  model::CheckpointTensor tensor{name, kind, io::Dtype::kF32, held.front().shape, {}};
  const int64_t total = held.front().rows.total;
  for (const Held& each : held)
    TORCH_CHECK(each.shape == tensor.shape && each.rows.end <= total && each.rows.begin >= 0 &&
                    each.rows.begin <= each.rows.end,
                name,
                ": ranks ",
                held.front().rank,
                " and ",
                each.rank,
                " hold different tensors");
  int64_t next = 0;
  size_t used = 0;
  do {
    const Held& chosen = writer_of_rows(name, held, next, load);
    load[chosen.rank] += chosen.bytes;
    tensor.slices.push_back(
        {model::shard_file(kind, chosen.rank, static_cast<int64_t>(load.size())),
         chosen.rows.begin,
         chosen.rows.end});
    used += std::count_if(held.begin(), held.end(), [&](const Held& each) {
      return each.rows.begin == chosen.rows.begin;
    });
    TORCH_CHECK(chosen.rows.end > next || total == 0, name, ": rank ", chosen.rank, " has no rows");
    next = chosen.rows.end;
  } while (next < total);
  TORCH_CHECK(used == held.size(), name, ": ranks hold rows that overlap");
  return tensor;
}

}  // namespace

WriteShare share_parts(std::vector<Part> parts, dist::World& world) {
  const Holdings holdings = holdings_of(world.gather_bytes(list_of(parts)));
  std::map<std::pair<std::string, std::string>, Part> own;
  for (Part& part : parts)
    own.emplace(std::pair(part.kind, part.name), std::move(part));
  WriteShare share;
  std::vector<int64_t> load(world.size(), 0);
  for (const auto& [key, held] : holdings) {
    const auto& [kind, name] = key;
    const std::string file = model::shard_file(kind, world.rank(), world.size());
    share.all.push_back(listed(kind, name, held, load));
    for (const auto& slice : share.all.back().slices)
      if (slice.file == file)
        share.mine.push_back(std::move(own.at(key)));
  }
  return share;
}

}  // namespace sterna::run
