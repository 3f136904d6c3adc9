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
  if (divides) {
    if (b == -1) {  // INT64_MIN / -1 overflows
      return sign == "%" ? Value(0) : arithmetic("*", left, -1);
    }
    const bool below = a % b != 0 && (a % b < 0) != (b < 0);  // Python rounds down
    return sign == "%" ? a % b + (below ? b : 0) : a / b - (below ? 1 : 0);
  }
  int64_t result = 0;
  const bool overflow = sign == "+"   ? __builtin_add_overflow(a, b, &result)
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
  const int64_t begin = one ? 0 : need_integer(given.get(0, "start", 0));
  const int64_t end = need_integer(given.get(one ? 0 : 1, "stop", 0));
  const int64_t step = need_integer(given.get(2, "step", 1));
  Value made = Value::array();
  if (step == 0) {
    throw std::invalid_argument("the step of a range is 0");
  }
  bool more = true;
  for (int64_t i = begin; more && (step > 0 ? i < end : i > end);) {
    if (std::ssize(made) >= kMostRange) {
      throw std::invalid_argument("the range is too long");
    }
    made.push_back(i);
    more = !__builtin_add_overflow(i, step, &i);
  }
  return made;
}

}  // namespace sterna::text::jinja
