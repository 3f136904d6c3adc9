#pragma once

#include <string>

#include "trainer/model/load.h"

namespace sterna::model {

/// SHA-256 over the configuration and weights of a checkpoint: two with the same one compute the
/// same. Reads every byte of the weights, but of a run's checkpoint the manifest's hashes alone,
/// which inspect() has checked.
std::string identity(const CheckpointInfo& info);

}  // namespace sterna::model
