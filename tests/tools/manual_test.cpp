// The manual's pages: each command has one, with each of its options and no other.
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace {

using sapwood::test::contents_of;
using sapwood::test::run_program;
using strings = std::set<std::string>;

std::string manual_folder() {
    const char* const folder = std::getenv("SAPWOOD_MANUALS");
    REQUIRE_MESSAGE(folder != nullptr,
                    "SAPWOOD_MANUALS does not say where the pages are: run the tests with ./dev "
                    "test or meson test");
    return std::string(folder) + "/";
}

/// Those that a list of options has, by all of their names.
strings options_in(const std::string& help) {
    strings found;
    std::istringstream lines(help);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("  -")) {
            continue;
        }
        std::istringstream names(line.substr(2, line.find(' ', 2) - 2));
        for (std::string name; std::getline(names, name, ',');) {
            found.insert(name);
        }
    }
    return found;
}

/// Those that the page explains: `.It Fl f , Fl Fl follow`.
strings options_of(const std::string& page) {
    strings found;
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(".It Fl ")) {
            continue;
        }
        std::istringstream words(line.substr(4));
        std::string dashes;
        for (std::string word; words >> word;) {
            if (word == "Fl") {
                dashes += '-';
            } else if (!std::exchange(dashes, "").empty()) {
                found.insert((word.size() == 1 ? "-" : "--") + word);
            }
        }
    }
    return found;
}

/// What a shell command prints.
std::string shell(const std::string& command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
    REQUIRE(pipe != nullptr);
    std::string text;
    char piece[4096];
    while (const auto got = std::fread(piece, 1, sizeof(piece), pipe.get())) {
        text.append(piece, got);
    }
    return text;
}

} // namespace

TEST_SUITE("manual") {
    TEST_CASE("each command has a page, with all of its options and no other") {
        const auto all = run_program("sapwood", {"--help"});
        for (const std::string command :
             {"grep", "send", "serve", "stats", "tail", "tree", "verify"}) {
            CAPTURE(command);
            const std::string section = command == "serve" ? "8" : "1";
            const std::string page =
                contents_of(manual_folder() + "sapwood-" + command + "." + section);
            CHECK(page.find(".Nm sapwood-" + command + "\n") != page.npos);
            if (all.out.find("  " + command + " ") == all.out.npos) {
                MESSAGE("built without it");
                continue;
            }
            const auto help = run_program("sapwood", {command, "--help"});
            CHECK(help.status == 0);
            const strings options = options_in(help.out);
            CHECK(options.size() > 2);
            for (const std::string& each : options) {
                CHECK_MESSAGE(options_of(page).contains(each), "the page lacks " << each);
            }
            for (const std::string& each : options_of(page)) {
                CHECK_MESSAGE(options.contains(each), "the page has " << each);
            }
        }
    }

    TEST_CASE("the pages have no mistake that mandoc or groff finds") {
        int checkers = 0;
        for (const std::string checker :
             {"mandoc -Tlint -Wwarning", "groff -mandoc -ww -Tutf8 -z"}) {
            if (!shell("command -v " + checker.substr(0, checker.find(' '))).empty()) {
                ++checkers;
                for (const auto& each : std::filesystem::directory_iterator(manual_folder())) {
                    CHECK(shell(checker + " '" + each.path().string() + "' 2>&1") == "");
                }
            }
        }
        if (checkers == 0) {
            MESSAGE("skipped: neither mandoc nor groff is installed");
        }
    }
}
