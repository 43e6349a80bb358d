#include "function_name.hpp"

#include <cstddef>
#include <cstdlib>
#include <cxxabi.h>
#include <memory>
#include <string_view>

namespace sapwood::detail {

namespace {

/// Within a coroutine gcc 12 means the function that it made of the body, whose parameter's type is
/// named after the mangled name of the one that somebody wrote.
std::string without_frame(std::string_view pretty) {
    constexpr std::string_view frame = ".Frame*)";
    const std::size_t end = pretty.rfind(frame);
    if (end == std::string_view::npos) {
        return std::string(pretty);
    }
    const std::size_t begin = pretty.rfind(':', end) + 1;
    const std::string mangled(pretty.substr(begin, end - begin));
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> plain(
        abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), std::free);
    return status == 0 ? std::string(plain.get()) : std::string(pretty);
}

bool opens(char c) noexcept {
    return c == '(' || c == '<' || c == '{' || c == '[';
}

bool closes(char c) noexcept {
    return c == ')' || c == '>' || c == '}' || c == ']';
}

/// Behind the last blank, before any parameter, that is not inside of brackets: the return type
/// stands before it.
std::string_view without_result(std::string_view name) noexcept {
    std::size_t begin = 0;
    int depth = 0;
    for (std::size_t i = 0; i < name.size(); ++i) {
        if (depth == 0 && name[i] == '(') {
            break;
        }
        if (opens(name[i])) {
            ++depth;
        } else if (closes(name[i])) {
            --depth;
        } else if (depth == 0 && name[i] == ' ') {
            begin = i + 1;
        }
    }
    return name.substr(begin);
}

/// A list of template arguments, as gcc and clang add it behind everything.
std::string_view without_arguments(std::string_view name) noexcept {
    const std::size_t list = name.rfind(" [");
    return list != std::string_view::npos && name.ends_with(']') ? name.substr(0, list) : name;
}

/// `f(int)::{lambda()#1}::operator()() const` is `f()::{lambda()#1}::operator()`: lists of
/// parameters outside of braces become empty, and the last one of a lambda goes.
std::string without_parameters(std::string_view name) {
    std::string left;
    int depth = 0;
    for (std::size_t i = 0; i < name.size(); ++i) {
        const bool is_call_operator = left.ends_with("operator") && name.substr(i, 2) == "()";
        if (depth == 0 && is_call_operator) {
            left += "()";
            ++i;
        } else if (name[i] == '(') {
            left += ++depth == 1 ? "(" : "";
        } else if (name[i] == ')') {
            left += --depth == 0 ? ")" : "";
        } else if (depth == 0) {
            left += name[i];
        }
    }
    for (const std::string_view end : {" const", "operator()()", "::"}) {
        if (left.ends_with(end)) {
            left.resize(left.size() - end.size());
        }
    }
    return left;
}

} // namespace

std::string function_name(const char* pretty) {
    std::string plain = without_frame(pretty);
    for (const std::string_view nowhere : {"(anonymous namespace)::", "{anonymous}::"}) {
        for (auto at = plain.find(nowhere); at != std::string::npos; at = plain.find(nowhere)) {
            plain.erase(at, nowhere.size());
        }
    }
    return without_parameters(without_result(without_arguments(plain)));
}

} // namespace sapwood::detail
