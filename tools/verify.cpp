#include "verify.hpp"

#include "line_printer.hpp"
#include "log_files.hpp"
#include "number_of.hpp"

#include <sapwood/log_verifier.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace sapwood::tools {

namespace {

constexpr int not_whole = 1;
constexpr int cannot_verify = 2;

constexpr std::size_t producers_listed = 20;
constexpr std::size_t lines_listed = 20;

constexpr auto redraw_every = std::chrono::milliseconds(100);
constexpr std::size_t bar_width = 40;

/// A line on the terminal that shows how far it is; nothing where standard error is none.
class progress_bar {
  public:
    void show(std::uint64_t done, std::uint64_t all) {
        const auto now = std::chrono::steady_clock::now();
        if (!is_terminal_ || now - drawn_ < redraw_every) {
            return;
        }
        drawn_ = now;
        const auto bytes = static_cast<double>(done);
        const double seconds = std::chrono::duration<double>(now - began_).count();
        if (done > all) { // what comes through a pipe: nobody knows how much there will be
            fmt::print(stderr, "\r{:.2f} GB  {:.2f} GB/s ", bytes / 1e9, bytes / 1e9 / seconds);
        } else {
            const double part = bytes / static_cast<double>(all);
            const auto filled = static_cast<std::size_t>(part * bar_width);
            fmt::print(stderr, "\r[{:=<{}}{: <{}}] {:3.0f}%  {:.2f} GB/s ", "", filled, "",
                       bar_width - filled, 100 * part, bytes / 1e9 / seconds);
        }
        std::fflush(stderr);
        is_drawn_ = true;
    }

    void remove() {
        if (is_drawn_) {
            fmt::print(stderr, "\r\x1b[K");
            is_drawn_ = false;
        }
    }

  private:
    const bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
    const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point drawn_ = began_;
    bool is_drawn_ = false;
};

std::string range_of(lsn first, lsn last) {
    return first == last ? fmt::format("{}", to_number(first))
                         : fmt::format("{} to {}", to_number(first), to_number(last));
}

/// A name of a file, as it may be shown.
std::string shown(std::string_view path) {
    log_buffer text(path.size());
    append_shown(path, text);
    return std::string(text.text());
}

/// The same of a file of `log`, as that was named: what is in the present directory was found with
/// a `./` before it.
std::string shown_beside(std::string_view path, std::string_view log) {
    constexpr std::string_view here = "./";
    const bool is_as_named = log.starts_with(here) || !path.starts_with(here);
    return shown(is_as_named ? path : path.substr(here.size()));
}

std::string_view name_of(damaged_piece::kind kind) {
    switch (kind) {
    case damaged_piece::kind::broken:
        return "damaged";
    case damaged_piece::kind::foreign:
        return "not a numbered line";
    case damaged_piece::kind::conflict:
        return "its number has been there before, with another text, or it comes too late";
    case damaged_piece::kind::torn:
        break;
    }
    return "torn: the next open moves it aside";
}

void print_more(std::size_t listed, std::uint64_t all) {
    if (all > listed) {
        fmt::print("  and {} more\n", all - listed);
    }
}

void print_damage(const std::string& path, const verified_log& log) {
    std::size_t listed = 0;
    for (const missing_records& each : log.missing) {
        if (listed++ == lines_listed) {
            break;
        }
        fmt::print("{}:{}: missing before this line: {}{}\n", shown_beside(each.file, path),
                   each.line, range_of(each.which.first, each.which.last),
                   each.is_told ? " (the log says so)" : "");
    }
    print_more(lines_listed, log.missing_ranges);
    listed = 0;
    for (const damaged_piece& each : log.damaged) {
        if (listed++ == lines_listed) {
            break;
        }
        fmt::print("{}:{}: {} ({} bytes from byte {} on)\n", shown_beside(each.file, path),
                   each.line, name_of(each.is), each.bytes, each.offset);
    }
    print_more(lines_listed, log.damaged_pieces);
}

void print_producers(const verified_log& log, bool all) {
    if (!all && log.producers.size() > producers_listed) {
        fmt::print("{} producers; --producers lists them\n", log.producers.size());
        return;
    }
    for (const auto& [id, records] : log.producers) {
        fmt::print("producer {}: {}, numbers {}", id, number_of(records.count, "record"),
                   range_of(records.first, records.last));
        if (records.first_sequence != 0) {
            fmt::print("; its own {} to {}", records.first_sequence, records.last_sequence);
            if (records.sequence_gaps + records.sequence_repeats != 0) {
                fmt::print(", with {} and {} repeated", number_of(records.sequence_gaps, "gap"),
                           records.sequence_repeats);
            }
        }
        fmt::print("\n");
    }
}

/// Whether nothing of it can be verified: there are lines, and none of them has a number.
bool is_unnumbered(const verified_log& log) {
    const auto is_foreign = [](const damaged_piece& each) {
        return each.is == damaged_piece::kind::foreign;
    };
    return log.lines + log.own_lines == 0 && !log.damaged.empty() &&
           std::ranges::all_of(log.damaged, is_foreign);
}

void print_unnumbered(const std::string& path) {
    fmt::print("{}: no line has a number: JSON, logfmt, and logs that are never synced have none, "
               "and cannot be verified\n",
               shown(path));
}

void print_log(const std::string& path, const verified_log& log, bool lists_producers) {
    for (const log_segment& each : log.segments) {
        fmt::print("{}: {} bytes{}, {}{}\n", shown_beside(each.path, path), each.bytes,
                   each.preallocated_bytes == 0
                       ? ""
                       : fmt::format(", {} of them preallocated", each.preallocated_bytes),
                   number_of(each.lines, "record"),
                   each.lines == 0 ? "" : ", numbers " + range_of(each.first, each.last));
    }
    print_producers(log, lists_producers);
    print_damage(path, log);
    if (log.repeated + log.superseded != 0) {
        fmt::print("repeated: {}\n", number_of(log.repeated + log.superseded, "line"));
    }
    if (log.unfinished_bytes != 0) {
        fmt::print("{} bytes of a line that is being written now\n", log.unfinished_bytes);
    }
    if (log.lines != 0 && log.first > lsn{1}) {
        fmt::print("{}: begins at number {}: those before it stand elsewhere, or nowhere\n",
                   shown(path), to_number(log.first));
    }
    if (log.is_whole()) {
        fmt::print("{}: whole, {}{}\n", shown(path), number_of(log.lines, "record"),
                   log.missing_records_told == 0
                       ? ""
                       : fmt::format("; {} more {} lost, and the log says so",
                                     log.missing_records_told,
                                     log.missing_records_told == 1 ? "was" : "were"));
    } else {
        fmt::print("{}: NOT WHOLE, {} missing, {} damaged ({} bytes)\n", shown(path),
                   number_of(log.missing_records_untold, "record"),
                   number_of(log.damaged_pieces, "piece"), log.damaged_bytes);
    }
}

void require_file(const std::string& path) {
    struct ::stat status {};

    if (path != standard_input && ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
        throw std::runtime_error(fmt::format("{} is not a file; standard input is -", path));
    }
}

/// A file of the log, as the other commands have it, that is not looked at here.
struct left_out_file {
    std::string path;
    std::string_view why;
};

/// Those that may be left out: asked for before what is looked at, since the log may be rotated.
std::vector<left_out_file> foreign_files_of(const std::string& path) {
    std::vector<left_out_file> all;
    if (path == standard_input) {
        return all;
    }
    std::vector<std::string> in_other_forms;
    for (const log_file& each : files_of(path, &in_other_forms)) {
        if (each.is_compressed) {
            all.push_back({each.path, "it is compressed; zstdcat and 'sapwood verify -' do"});
        } else if (each.superseded_from == 0) {
            all.push_back({each.path, "others have renamed it; verify it by its own name"});
        }
    }
    for (const std::string& each : in_other_forms) {
        all.push_back({each, "it is compressed"});
    }
    return all;
}

void print_left_out(const std::string& path, const std::vector<left_out_file>& files,
                    const std::vector<log_segment>& looked_at) {
    for (const left_out_file& each : files) {
        const auto plain = std::filesystem::path(each.path).lexically_normal();
        const bool is_looked_at = std::ranges::any_of(looked_at, [&plain](const log_segment& file) {
            return std::filesystem::path(file.path).lexically_normal() == plain;
        });
        if (!is_looked_at && ::access(each.path.c_str(), F_OK) == 0) { // it may be compressed now
            fmt::print(stderr, "sapwood verify: {} belongs to {}, and is not looked at: {}\n",
                       shown_beside(each.path, path), shown(path), each.why);
        }
    }
}

} // namespace

verify_command::verify_command(CLI::App& program)
    : command_(program.add_subcommand(
          "verify", "Check that a log of numbered lines and its segments are whole")) {
    command_
        ->add_option("LOG", logs_,
                     "The logs; segments (LOG.<number>) and rotated files (LOG.<time>) beside them "
                     "belong to "
                     "them, but not those that others have renamed or compressed, which are "
                     "named. - is standard input")
        ->required();
    command_->add_flag("--producers", lists_producers_,
                       "List every producer, however many there are");
    command_->add_flag("-q,--quiet", is_quiet_, "Print nothing; the exit code tells");
    command_->footer(
        "Exit code: 0 where nothing is missing or damaged but what the log says it has "
        "lost,\n1 where something is, 2 where a log cannot be read, or no line of it has a "
        "number.");
}

int verify_command::run() const {
    bool are_whole = true;
    bool are_verified = true;
    for (const std::string& path : logs_) {
        require_file(path);
        progress_bar bar;
        log_verifier verifier(
            [&bar](std::uint64_t done, std::uint64_t all) { bar.show(done, all); });
        const std::vector<left_out_file> left_out = foreign_files_of(path);
        const verified_log log = verifier.verify_log(path);
        bar.remove();
        const bool is_verified = !is_unnumbered(log);
        are_verified = are_verified && is_verified;
        if (!is_quiet_) {
            is_verified ? print_log(path, log, lists_producers_) : print_unnumbered(path);
            std::fflush(stdout);
            print_left_out(path, left_out, log.segments);
        }
        are_whole = are_whole && (!is_verified || log.is_whole());
    }
    return !are_verified ? cannot_verify : are_whole ? 0 : not_whole;
}

} // namespace sapwood::tools
