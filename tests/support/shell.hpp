// Programs of others, for tests of what speaks with them.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>
#include <memory>
#include <string>

namespace sapwood::test {

/// Runs a shell command; its output.
inline std::string shell(const std::string& command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
    REQUIRE(pipe != nullptr);
    std::string text;
    char buffer[4096];
    while (const auto got = std::fread(buffer, 1, sizeof(buffer), pipe.get())) {
        text.append(buffer, got);
    }
    return text;
}

/// Says so where it is not: the test is left out then.
inline bool is_installed(const std::string& command) {
    if (std::system(("command -v " + command + " >/dev/null").c_str()) == 0) {
        return true;
    }
    MESSAGE("skipped: " << command << " is not installed");
    return false;
}

} // namespace sapwood::test
