#include "verify.hpp"

#include "line_printer.hpp"

#include <sapwood/log_verifier.hpp>

#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <string_view>
#include <unistd.h>

namespace sapwood::tools {

namespace {

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

void print_damage(const verified_log& log) {
    std::size_t listed = 0;
    for (const missing_records& each : log.missing) {
        if (listed++ == lines_listed) {
            break;
        }
        fmt::print("{}:{}: missing before this line: {}{}\n", shown(each.file), each.line,
                   range_of(each.which.first, each.which.last),
                   each.is_told ? " (the log says so)" : "");
    }
    print_more(lines_listed, log.missing_ranges);
    listed = 0;
    for (const damaged_piece& each : log.damaged) {
        if (listed++ == lines_listed) {
            break;
        }
        fmt::print("{}:{}: {} ({} bytes from byte {} on)\n", shown(each.file), each.line,
                   name_of(each.is), each.bytes, each.offset);
    }
    print_more(lines_listed, log.damaged_pieces);
}

void print_producers(const verified_log& log, bool all) {
    if (!all && log.producers.size() > producers_listed) {
        fmt::print("{} producers; --producers lists them\n", log.producers.size());
        return;
    }
    for (const auto& [id, records] : log.producers) {
        fmt::print("producer {}: {} records, numbers {}", id, records.count,
                   range_of(records.first, records.last));
        if (records.first_sequence != 0) {
            fmt::print("; its own {} to {}", records.first_sequence, records.last_sequence);
            if (records.sequence_gaps + records.sequence_repeats != 0) {
                fmt::print(", with {} gaps and {} repeated", records.sequence_gaps,
                           records.sequence_repeats);
            }
        }
        fmt::print("\n");
    }
}

void print_log(const std::string& path, const verified_log& log, bool lists_producers) {
    for (const log_segment& each : log.segments) {
        fmt::print("{}: {} bytes{}, {} records{}\n", shown(each.path), each.bytes,
                   each.preallocated_bytes == 0
                       ? ""
                       : fmt::format(", {} of them preallocated", each.preallocated_bytes),
                   each.lines,
                   each.lines == 0 ? "" : ", numbers " + range_of(each.first, each.last));
    }
    print_producers(log, lists_producers);
    print_damage(log);
    if (log.repeated + log.superseded != 0) {
        fmt::print("repeated: {} lines\n", log.repeated + log.superseded);
    }
    if (log.unfinished_bytes != 0) {
        fmt::print("{} bytes of a line that is being written now\n", log.unfinished_bytes);
    }
    if (log.is_whole()) {
        fmt::print("{}: whole, {} records{}\n", shown(path), log.lines,
                   log.missing_records_told == 0
                       ? ""
                       : fmt::format("; {} more were lost, and the log says so",
                                     log.missing_records_told));
    } else {
        fmt::print("{}: NOT WHOLE, {} records missing, {} pieces damaged ({} bytes)\n", shown(path),
                   log.missing_records_untold, log.damaged_pieces, log.damaged_bytes);
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
                     "them, but not compressed ones. - is standard input")
        ->required();
    command_->add_flag("--producers", lists_producers_,
                       "List every producer, however many there are");
    command_->add_flag("-q,--quiet", is_quiet_, "Print nothing; the exit code tells");
    command_->footer(
        "Exit code: 0 where nothing is missing or damaged but what the log says it has "
        "lost,\n1 where something is, 2 where a log cannot be read.");
}

int verify_command::run() const {
    bool are_whole = true;
    for (const std::string& path : logs_) {
        progress_bar bar;
        log_verifier verifier(
            [&bar](std::uint64_t done, std::uint64_t all) { bar.show(done, all); });
        const verified_log log = verifier.verify(log_verifier::segments_of(path));
        bar.remove();
        if (!is_quiet_) {
            print_log(path, log, lists_producers_);
        }
        are_whole = are_whole && log.is_whole();
    }
    return are_whole ? 0 : 1;
}

} // namespace sapwood::tools
