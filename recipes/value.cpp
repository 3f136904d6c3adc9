#include "recipes/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace sterna::recipes {
namespace {

std::string number_text(double value) {
  if (std::isinf(value))
    return value > 0 ? "inf" : "-inf";
  if (std::isnan(value))
    return "nan";
  std::array<char, 64> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), result.ptr);
  // TOML reads "1" as an integer.
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return text;
}

bool is_bare_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

std::string key_text(std::string_view key) {
  return is_bare_key(key) ? std::string(key) : quoted_text(key);
}

std::string joined(const Value& value) {
  std::string out;
  for (size_t i = 0; i < value.items.size(); ++i) {
    out += i == 0 ? "" : ", ";
    if (value.is(Value::Kind::kTable))
      out += key_text(value.keys[i]) + " = ";
    out += inline_text(value.items[i]);
  }
  return out;
}

/// "key = value" lines for everything that is no list of tables.
std::string plain_lines(const Value& table) {
  std::string out;
  for (size_t i = 0; i < table.items.size(); ++i) {
    if (!table.items[i].is_table_list())
      out += key_text(table.keys[i]) + " = " + inline_text(table.items[i]) + "\n";
  }
  return out;
}

std::string table_list_text(const Value& list, const std::string& name) {
  std::string out;
  for (const Value& item : list.items) {
    out += "\n[[" + name + "]]\n";
    for (size_t i = 0; i < item.items.size(); ++i)
      out += key_text(item.keys[i]) + " = " + inline_text(item.items[i]) + "\n";
  }
  return out;
}

std::string section_text(const Value& section, const std::string& name) {
  std::string out = "\n[" + name + "]\n" + plain_lines(section);
  for (size_t i = 0; i < section.items.size(); ++i) {
    if (section.items[i].is_table_list())
      out += table_list_text(section.items[i], name + "." + key_text(section.keys[i]));
  }
  return out;
}

}  // namespace

std::string Place::text() const {
  if (line == 0)
    return file;
  return file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

Value Value::of(bool value) {
  Value v;
  v.kind = Kind::kBool;
  v.flag = value;
  return v;
}

Value Value::of(int64_t value) {
  Value v;
  v.kind = Kind::kInteger;
  v.integer = value;
  return v;
}

Value Value::of(double value) {
  Value v;
  v.kind = Kind::kNumber;
  v.number = value;
  return v;
}

Value Value::of(std::string value) {
  Value v;
  v.kind = Kind::kText;
  v.text = std::move(value);
  return v;
}

Value Value::list() {
  Value v;
  v.kind = Kind::kList;
  return v;
}

bool Value::is_table_list() const {
  return is(Kind::kList) && !items.empty() &&
         std::all_of(items.begin(), items.end(), [](const Value& v) { return v.is(Kind::kTable); });
}

const std::string* Value::as_text() const {
  if (is(Kind::kText))
    return &text;
  return typed.empty() ? nullptr : &typed;
}

const Value* Value::find(std::string_view key) const {
  if (!is(Kind::kTable))
    return nullptr;
  const auto it = std::find(keys.begin(), keys.end(), key);
  return it == keys.end() ? nullptr : &items[static_cast<size_t>(it - keys.begin())];
}

Value* Value::find(std::string_view key) {
  return const_cast<Value*>(static_cast<const Value&>(*this).find(key));
}

Value& Value::at_or_add(std::string_view key) {
  if (Value* found = find(key))
    return *found;
  keys.emplace_back(key);
  return items.emplace_back();
}

std::string quoted_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> buffer{};
      std::snprintf(buffer.data(), buffer.size(), "\\u%04X", byte);
      out += buffer.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string inline_text(const Value& value) {
  switch (value.kind) {
    case Value::Kind::kBool:
      return value.flag ? "true" : "false";
    case Value::Kind::kInteger:
      return std::to_string(value.integer);
    case Value::Kind::kNumber:
      return number_text(value.number);
    case Value::Kind::kText:
      return quoted_text(value.text);
    case Value::Kind::kList:
      return "[" + joined(value) + "]";
    case Value::Kind::kTable:
      return value.items.empty() ? "{}" : "{ " + joined(value) + " }";
  }
  return {};
}

std::string document_text(const Value& root) {
  std::string out;
  std::string sections;
  for (size_t i = 0; i < root.items.size(); ++i) {
    const Value& item = root.items[i];
    const std::string name = key_text(root.keys[i]);
    if (item.is(Value::Kind::kTable))
      sections += section_text(item, name);
    else if (item.is_table_list())
      sections += table_list_text(item, name);
    else
      out += name + " = " + inline_text(item) + "\n";
  }
  out += sections;
  if (!out.empty() && out.front() == '\n')
    out.erase(0, 1);
  return out;
}

}  // namespace sterna::recipes
