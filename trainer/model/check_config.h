#pragma once

#include "trainer/model/config.h"

namespace sterna::model {

/// Before anything is allocated by it. The deepest public models have a few hundred.
constexpr int64_t kMostLayers = int64_t{1} << 10;

/// Refuses what no decoder could be built from. @throws recipes::UserError  naming the file
void check_config(const DecoderConfig& config, const std::filesystem::path& file);

}  // namespace sterna::model
