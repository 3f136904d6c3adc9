#pragma once

#include <string>
#include <vector>

#include "trainer/dist/world.h"
#include "trainer/model/run_checkpoint.h"
#include "trainer/run/student.h"

namespace sterna::run {

/// A tensor of a checkpoint, as far as this rank holds it.
struct Part {
  std::string kind;
  std::string name;
  Tensor values;  ///< fp32 [rows.end - rows.begin, ...]
  Rows rows;
};

/// What a rank writes of a checkpoint.
struct WriteShare {
  std::vector<Part> mine;
  std::vector<model::CheckpointTensor> all;  ///< of every rank: the manifest's list
};

/// Shares a checkpoint out to the ranks: rows that one of them holds are written there, rows that
/// several hold by the one that has least to write. Collective; nobody sees another's values.
/// @throws c10::Error  on every rank, where the parts do not have each row of a tensor once
WriteShare share_parts(std::vector<Part> parts, dist::World& world);

}  // namespace sterna::run
