#pragma once

#include <string>

#include "trainer/text/jinja_ast.h"

namespace sterna::text::jinja {

/// Reads a template. What is not supported is refused here, wherever in the template it stands.
/// @throws TemplateError  with the construct, line and column
Template parse(const std::string& source);

}  // namespace sterna::text::jinja
