#pragma once

#include <map>
#include <string>

#include "trainer/text/jinja_ast.h"

namespace sterna::text::jinja {

/// Renders a template.
/// @param variables  what the template sees, such as `messages`
/// @throws TemplateError  with line and column: an operation that its values do not allow, or what
///         the template says itself by raise_exception
std::string render(const Template& made, std::map<std::string, Value> variables);

}  // namespace sterna::text::jinja
