#pragma once

#include "trainer/model/config.h"

namespace sterna::model {

/// Refuses what no decoder could be built from. @throws recipes::UserError  naming the file
void check_config(const DecoderConfig& config, const std::filesystem::path& file);

}  // namespace sterna::model
