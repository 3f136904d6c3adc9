#include "trainer/text/jinja_operators.h"

#include <cmath>
#include <stdexcept>

namespace sterna::text::jinja {
namespace {

constexpr int64_t kMostRange = 100000;

Value real(const std::string& sign, double a, double b) {
  return sign == "+"    ? a + b
         : sign == "-"  ? a - b
         : sign == "*"  ? a * b
         : sign == "/"  ? a / b
         : sign == "//" ? std::floor(a / b)
                        : a - std::floor(a / b) * b;
}

Value arithmetic(const std::string& sign, const Value& left, const Value& right) {
  if (!left.is_number() || !right.is_number()) {
    throw std::invalid_argument("'" + sign + "' does not fit the types of its values");
  }
  const bool divides = sign == "/" || sign == "//" || sign == "%";
  if (divides && right.get<double>() == 0) {
    throw std::invalid_argument("division by zero");
  }
  if (sign == "/" || left.is_number_float() || right.is_number_float()) {
    return real(sign, left.get<double>(), right.get<double>());
  }
  const auto a = left.get<int64_t>();
  const auto b = right.get<int64_t>();
  int64_t result = 0;
  bool overflow = false;
  if (divides) {
    overflow = b == -1;  // INT64_MIN / -1; every other a gives -a and 0
    const int64_t rest = overflow ? 0 : ((a % b) + b) % b;
    result = sign == "%" ? rest : overflow ? 0 : (a - rest) / b;
    if (overflow && sign == "//") {
      return arithmetic("*", left, -1);
    }
    return result;
  }
  overflow = sign == "+"   ? __builtin_add_overflow(a, b, &result)
             : sign == "-" ? __builtin_sub_overflow(a, b, &result)
                           : __builtin_mul_overflow(a, b, &result);
  if (overflow) {
    throw std::invalid_argument("the result of '" + sign + "' is too large");
  }
  return result;
}

Value compare(const std::string& sign, const Value& left, const Value& right) {
  const bool fits =
      (left.is_number() && right.is_number()) || (left.is_string() && right.is_string());
  if (!fits) {
    throw std::invalid_argument("'" + sign + "' needs two numbers or two strings");
  }
  return sign == "<"    ? left < right
         : sign == ">"  ? right < left
         : sign == "<=" ? left <= right
                        : right <= left;
}

}  // namespace

Value operate(const std::string& sign, const Value& left, const Value& right) {
  if (sign == "==" || sign == "!=") {
    return equal(left, right) == (sign == "==");
  }
  if (sign == "in" || sign == "not in") {
    return contains(right, left) == (sign == "in");
  }
  if (sign == "~") {
    return to_text(left) + to_text(right);
  }
  if (sign == "+" && left.is_string() && right.is_string()) {
    return left.get<std::string>() + right.get<std::string>();
  }
  if (sign == "+" && left.is_array() && right.is_array()) {
    Value joined = left;
    joined.insert(joined.end(), right.begin(), right.end());
    return joined;
  }
  if (sign[0] == '<' || sign[0] == '>') {
    return compare(sign, left, right);
  }
  return arithmetic(sign, left, right);
}

Value range(const Arguments& given) {
  const bool one = given.values.size() == 1;
  const auto begin = one ? int64_t{0} : given.get(0, "start", 0).get<int64_t>();
  const auto end = given.get(one ? 0 : 1, "stop", 0).get<int64_t>();
  const auto step = given.get(2, "step", 1).get<int64_t>();
  Value made = Value::array();
  if (step == 0) {
    throw std::invalid_argument("the step of a range is 0");
  }
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    if (std::ssize(made) >= kMostRange) {
      throw std::invalid_argument("the range is too long");
    }
    made.push_back(i);
  }
  return made;
}

}  // namespace sterna::text::jinja
