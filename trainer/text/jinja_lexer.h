#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "recipes/user_error.h"

namespace sterna::text::jinja {

/// A mistake in a chat template, or a construct that is not supported: "line:column: ...".
class TemplateError : public recipes::UserError {
 public:
  using recipes::UserError::UserError;
};

enum class TokenKind {
  kText,       ///< output as it stands
  kBlockOpen,  ///< {%
  kBlockClose,
  kPrintOpen,  ///< {{
  kPrintClose,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;   ///< of a string: its value
  size_t offset = 0;  ///< byte of the template
};

/// Cuts a template into tokens with trim_blocks and lstrip_blocks on, as chat templates are
/// rendered by transformers. Comments are dropped.
std::vector<Token> tokenize(const std::string& source);

/// Throws TemplateError with line and column of `offset`.
[[noreturn]] void fail(const std::string& source, size_t offset, const std::string& why);

}  // namespace sterna::text::jinja
