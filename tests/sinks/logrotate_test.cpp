// A log under load that Debian's logrotate rotates, in both of its modes. Each case runs in a
// process of its own, which logrotate may send signals.
#include "support/child_process.hpp"
#include "support/log_files.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/logger.hpp>

#include <atomic>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace sapwood;
using test::contents_of;
using test::fill;
using test::temporary_directory;

bool has_logrotate() {
    // It is in a folder that only root's PATH has.
    if (std::system("PATH=$PATH:/usr/sbin logrotate --version >/dev/null 2>&1") != 0) {
        MESSAGE("skipped: logrotate is not installed");
        return false;
    }
    return true;
}

/// A log in a directory of its own, with what logrotate is to do with it.
class rotated_by_others {
  public:
    explicit rotated_by_others(std::string_view rules) : rules_(rules) {}

    [[nodiscard]] std::string path() const { return directory_ / "log"; }

    /// In the process whose log it is.
    void begin() const {
        fill(directory_ / "rules",
             fmt::format("{} {{\n rotate 1000\n {}\n}}\n", path(),
                         fmt::format(fmt::runtime(rules_), fmt::arg("pid", ::getpid()))));
        std::filesystem::permissions(directory_ / "rules", std::filesystem::perms(0600));
    }

    [[nodiscard]] bool rotate() const {
        const std::string command =
            fmt::format("PATH=$PATH:/usr/sbin logrotate --force --state {} {} >&2",
                        directory_ / "state", directory_ / "rules");
        return std::system(command.c_str()) == 0;
    }

    /// What there is, the oldest first: `log.3`, `log.2`, `log.1`, `log`.
    [[nodiscard]] std::vector<std::string> contents() const {
        std::vector<std::string> all;
        for (int i = 1; std::filesystem::exists(fmt::format("{}.{}", path(), i)); ++i) {
            all.insert(all.begin(), contents_of(fmt::format("{}.{}", path(), i)));
        }
        all.push_back(contents_of(path()));
        return all;
    }

  private:
    const std::string rules_;
    const temporary_directory directory_;
};

/// Logs `number 1` and so on while `meanwhile` runs; how many.
int log_under_load(const logger_options& from, const std::function<void()>& meanwhile) {
    const logger log(
        {.path = from.path, .form = {.pattern = "%v"}, .reopen_on_hangup = from.reopen_on_hangup});
    std::atomic<bool> enough{false};
    int number = 0;
    std::thread load([&] {
        do {
            log.info("number {}", ++number);
            if (number % 20 == 0) {
                log.flush_blocking(); // many small batches, and files that are soon read
            }
        } while (!enough.load());
    });
    meanwhile();
    enough.store(true);
    load.join();
    return number;
}

void wait_for_lines(const std::string& path) {
    std::error_code ignored;
    while (!std::filesystem::exists(path, ignored) ||
           std::filesystem::file_size(path, ignored) == 0) {
        std::this_thread::yield();
    }
}

/// What is wrong with files that should hold `number 1` to `number <last>`, each once, in order,
/// among what the log says of itself.
std::string fault_in(const std::vector<std::string>& files, int last) {
    int expected = 1;
    for (const auto& text : files) {
        if (!text.empty() && text.back() != '\n') {
            return "a torn line";
        }
        std::istringstream in(text);
        for (std::string line; std::getline(in, line);) {
            if (line == fmt::format("number {}", expected)) {
                ++expected;
            } else if (line.find("the log goes on in this file") == line.npos) {
                return fmt::format("'{}' instead of number {}", line, expected);
            }
        }
    }
    return expected == last + 1 ? std::string("none") : fmt::format("ends before {}", expected);
}

} // namespace

TEST_SUITE("logrotate") {

    TEST_CASE("create with a SIGHUP afterwards: every record is there once") {
        if (!has_logrotate()) {
            return;
        }
        const rotated_by_others log("create 0600\n postrotate\n kill -HUP {pid}\n endscript");
        const auto ended = test::in_child([&] {
            log.begin();
            int rotations = 0;
            const int last = log_under_load({.path = log.path(), .reopen_on_hangup = true}, [&] {
                for (int i = 0; i < 10; ++i) {
                    wait_for_lines(log.path());
                    rotations += log.rotate() ? 1 : 0;
                }
            });
            return fmt::format("{} rotations, {} files, fault: {}", rotations,
                               log.contents().size(), fault_in(log.contents(), last));
        });
        CHECK(ended == "10 rotations, 11 files, fault: none");
    }

    TEST_CASE("create, and nobody tells the log: every record is there once") {
        if (!has_logrotate()) {
            return;
        }
        const rotated_by_others log("create 0600");
        const auto ended = test::in_child([&] {
            log.begin();
            int rotations = 0;
            const int last = log_under_load({.path = log.path()}, [&] {
                wait_for_lines(log.path());
                rotations += log.rotate() ? 1 : 0;
                wait_for_lines(log.path());
            });
            return fmt::format("{} rotations, {} files, fault: {}", rotations,
                               log.contents().size(), fault_in(log.contents(), last));
        });
        CHECK(ended == "1 rotations, 2 files, fault: none");
    }

    TEST_CASE("nocreate: the log makes its file anew, and every record is there once") {
        if (!has_logrotate()) {
            return;
        }
        const rotated_by_others log("nocreate");
        const auto ended = test::in_child([&] {
            log.begin();
            const int last = log_under_load({.path = log.path()}, [&] {
                wait_for_lines(log.path());
                (void)log.rotate();
                wait_for_lines(log.path());
            });
            return fmt::format("{} files, fault: {}", log.contents().size(),
                               fault_in(log.contents(), last));
        });
        CHECK(ended == "2 files, fault: none");
    }

    TEST_CASE("copytruncate of a log that is quiet: every record is there once") {
        if (!has_logrotate()) {
            return;
        }
        const rotated_by_others log("copytruncate");
        const auto ended = test::in_child([&] {
            log.begin();
            const logger to({.path = log.path(), .form = {.pattern = "%v"}});
            for (int i = 1; i <= 3000; ++i) {
                to.info("number {}", i);
                if (i % 1000 == 0 && i < 3000) {
                    to.flush_blocking();
                    (void)log.rotate();
                }
            }
            to.flush_blocking();
            return fmt::format("{} files, fault: {}", log.contents().size(),
                               fault_in(log.contents(), 3000));
        });
        CHECK(ended == "3 files, fault: none");
    }

    TEST_CASE(
        "copytruncate under load: what was written between copy and truncation is all that is "
        "missing") {
        if (!has_logrotate()) {
            return;
        }
        const rotated_by_others log("copytruncate");
        const auto ended = test::in_child([&]() -> std::string {
            log.begin();
            constexpr int rotations = 5;
            const int last = log_under_load({.path = log.path()}, [&] {
                for (int i = 0; i < rotations; ++i) {
                    wait_for_lines(log.path());
                    (void)log.rotate();
                }
            });
            int before = 0;
            int gaps = 0;
            const auto files = log.contents();
            for (const auto& text : files) {
                if (text.find('\0') != text.npos) {
                    return "a NUL";
                }
                // A copy may end within a line: logrotate reads while we write.
                std::istringstream in(text.substr(0, text.rfind('\n') + 1));
                if (&text == &files.back() && !text.empty() && text.back() != '\n') {
                    return "a torn line";
                }
                bool is_first = true;
                for (std::string line; std::getline(in, line);) {
                    if (line.starts_with("somebody has cut ")) {
                        continue;
                    }
                    const int number = line.starts_with("number ") ? std::stoi(line.substr(7)) : 0;
                    if (number <= before || line != fmt::format("number {}", number)) {
                        return fmt::format("'{}' after number {}", line, before);
                    }
                    if (number != before + 1 && !is_first) {
                        return fmt::format("'{}' after number {}, in one file", line, before);
                    }
                    gaps += number != before + 1 ? 1 : 0;
                    is_first = false;
                    before = number;
                }
            }
            if (before != last || gaps > rotations) {
                return fmt::format("ends with {} of {}, with {} gaps", before, last, gaps);
            }
            return "as it must be";
        });
        CHECK(ended == "as it must be");
    }
}
