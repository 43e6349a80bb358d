// Merges what many programs write into one log file, without a lock: a producer coroutine per
// input (a file, a FIFO, standard input), one consumer that batches whole lines into the file.
// One thread, so nothing here is shared between threads.
//
// A producer reads a large piece, cuts it after its last newline and hands all whole lines over as
// one record. Memory is bounded: by its buffer and one record for each input, the queue, and two
// batches.
#include "command_line.hpp"

#include "inputs/input.hpp"
#include "inputs/line_buffer.hpp"

#include <sapwood/pipeline.hpp>
#include <sapwood/sapwood.hpp>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::as_result;
using sapwood::file;
using sapwood::task;

/// A pipe holds 64 KiB by default; of a file, more at once costs less. Only a line of a binary
/// file gets as long as the maximum.
constexpr line_buffer::limits line_limits{.read_bytes = 128u << 10, .line_bytes_max = 16u << 20};

/// Each record is up to line_limits.read_bytes of lines; a few keep the consumer busy.
constexpr std::size_t queue_records = 4;

constexpr auto progress_interval = 250ms;

template <class... Args>
void complain(fmt::format_string<Args...> format, Args&&... args) {
    // Not fmt::print, which throws where standard error is closed or full: nobody reads it then.
    std::fputs(
        fmt::format("log_to_file: {}\n", fmt::format(format, std::forward<Args>(args)...)).c_str(),
        stderr);
}

std::string counted(std::uint64_t count, std::string_view what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

double mega(std::uint64_t bytes) {
    return static_cast<double>(bytes) / 1e6;
}

double seconds(sapwood::clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
}

// --- The merge ---

/// Outlives the loop, and so everything its coroutines refer to.
class merge {
  public:
    merge(std::string log, std::vector<std::string> input_names)
        : log_path_(std::move(log)),
          input_names_(std::move(input_names)) {}

    /// Returns the exit status. Throws where the log cannot be opened.
    task<int> run();

  private:
    task<bool> open_inputs();
    task<> read_inputs();
    task<> produce(std::uint32_t id);
    task<> hand_over(sapwood::record block);
    task<> watch_signals();
    task<> show_progress();
    void stop();
    void print_summary(const sapwood::pipeline_counts& counts, std::uint64_t torn_bytes) const;

    const std::string log_path_;
    const std::vector<std::string> input_names_;
    const sapwood::clock::time_point started_ = sapwood::clock::now();
    std::vector<input> inputs_;
    std::unique_ptr<sapwood::pipeline> log_;
    std::vector<sapwood::join_handle<>> producers_;
    /// No more is read.
    bool stopping_ = false;
    /// The signal that asked to stop; 0 if none did.
    int signal_ = 0;
    std::size_t inputs_cut_short_ = 0;
    /// Of lines that had begun in those.
    std::uint64_t bytes_left_out_ = 0;
    std::size_t inputs_failed_ = 0;
    std::uint64_t lines_cut_ = 0;
    /// Read, but the pipeline took no more.
    std::uint64_t lines_refused_ = 0;
};

task<int> merge::run() {
    if (!co_await open_inputs()) {
        co_return 1;
    }
    const sapwood::file_sink_options sink_options{.path = log_path_};
    auto sink = co_await sapwood::file_sink::open(sink_options);
    const std::uint64_t torn_bytes = sink.torn_bytes();

    const sapwood::pipeline_options options{.queue_records = queue_records,
                                            .form = sapwood::layout::verbatim};
    log_ = std::make_unique<sapwood::pipeline>(std::move(sink), options);
    // A producer that waits for its input would not notice that the log has failed.
    log_->on_loss([this](const std::string&) { stop(); });

    std::string failure;
    try {
        co_await read_inputs();
        co_await log_->close();
    } catch (const std::system_error& error) {
        failure = error.what();
    }
    const auto counts = log_->counts();
    print_summary(counts, torn_bytes);
    if (!failure.empty()) {
        complain("{}; lost: {} that had been read", failure,
                 counted(counts.lines_lost + lines_refused_, "line"));
        co_return 1;
    }
    if (signal_ != 0 && inputs_cut_short_ > 0) {
        co_return 128 + signal_;
    }
    co_return inputs_failed_ > 0 ? 1 : 0;
}

/// False, after messages, if one cannot be read. Nothing has been written then.
task<bool> merge::open_inputs() {
    bool all_opened = true;
    for (const auto& name : input_names_) {
        try {
            inputs_.push_back(co_await input::open(name));
        } catch (const std::system_error& error) {
            complain("{}", error.what());
            all_opened = false;
        }
    }
    if (const auto why = conflict(inputs_, log_path_); !why.empty()) {
        complain("{}", why);
        all_opened = false;
    }
    co_return all_opened;
}

task<> merge::read_inputs() {
    auto watcher = sapwood::spawn(watch_signals());
    for (std::uint32_t id = 0; id < inputs_.size(); ++id) {
        producers_.push_back(sapwood::spawn(produce(id)));
    }
    sapwood::join_handle<> progress;
    if (::isatty(STDERR_FILENO) == 1) {
        progress = sapwood::spawn(show_progress());
    }
    for (auto& producer : producers_) {
        co_await producer;
    }
    if (progress) {
        progress.cancel();
        co_await progress;
    }
    watcher.detach(); // a signal during the last write must not break it off
}

task<> merge::produce(std::uint32_t id) {
    input& from = inputs_[id];
    line_buffer lines(line_limits);
    const auto as_record = [id](std::string_view text) {
        return sapwood::record(sapwood::level::info, id, text);
    };
    bool at_end = false;
    while (!stopping_ && !at_end) {
        const auto got = co_await from.read_some(lines.space());
        if (!got) {
            if (got.error() != std::errc::operation_canceled) {
                complain("cannot read {}: {}", from.name(), got.error().message());
                ++inputs_failed_;
                at_end = true;
            }
            continue;
        }
        at_end = *got == 0;
        lines.added(*got);
        if (lines.ready()) {
            lines_cut_ += lines.line_is_too_long() ? 1 : 0;
            co_await hand_over(lines.take(as_record));
        }
    }
    if (!at_end) {
        // The rest of a line that has begun is perhaps still to be written: it is not a line.
        ++inputs_cut_short_;
        bytes_left_out_ += lines.size();
    } else if (lines.size() > 0) {
        co_await hand_over(lines.take(as_record)); // a last line without a newline gets one
    }
}

/// What has been read gets into the log even where the producer is asked to stop meanwhile.
task<> merge::hand_over(sapwood::record block) {
    for (;;) {
        // Moved from only where it is accepted. NOLINTBEGIN(bugprone-use-after-move)
        const auto sent = co_await as_result(log_->append(std::move(block)));
        if (sent) {
            co_return;
        }
        if (sent.error() != std::errc::operation_canceled) {
            const std::string_view text = block.message();
            lines_refused_ +=
                1 + static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
            co_return;
        }
        // NOLINTEND(bugprone-use-after-move)
    }
}

void merge::stop() {
    stopping_ = true;
    for (auto& producer : producers_) {
        if (producer) {
            producer.cancel();
        }
    }
}

/// The first signal ends the reading; a second one kills, as if nobody watched.
task<> merge::watch_signals() {
    sapwood::signal_set signals{SIGINT, SIGTERM};
    signal_ = co_await signals.next();
    stop();
}

// --- What people see ---

/// One line that is written over again and again, until cancelled.
task<> merge::show_progress() {
    file terminal(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!terminal.is_open()) {
        co_return; // no descriptor is left for it
    }
    auto before = log_->counts();
    auto then = sapwood::clock::now();
    while (co_await as_result(sapwood::sleep_for(progress_interval))) {
        const auto counts = log_->counts();
        const auto now = sapwood::clock::now();
        const auto bytes = counts.bytes_written - before.bytes_written;
        const std::string text =
            fmt::format("\r\x1b[K{} lines  {:.1f} MB/s  {} of {} queued", counts.lines_written,
                        mega(bytes) / seconds(now - then), counts.queued, queue_records);
        (void)co_await as_result(terminal.write_some(text));
        before = counts;
        then = now;
    }
    (void)co_await as_result(terminal.write_some(std::string_view("\r\x1b[K")));
}

void merge::print_summary(const sapwood::pipeline_counts& counts, std::uint64_t torn_bytes) const {
    const double elapsed = seconds(sapwood::clock::now() - started_);
    complain("{}, {:.1f} MB from {} in {:.3f} s ({:.0f} MB/s), {}",
             counted(counts.lines_written, "line"), mega(counts.bytes_written),
             counted(inputs_.size(), "input"), elapsed, mega(counts.bytes_written) / elapsed,
             counted(counts.batches_written, "write"));
    if (lines_cut_ > 0) {
        complain("lines longer than {} MiB were cut {}", line_limits.line_bytes_max >> 20,
                 counted(lines_cut_, "time"));
    }
    if (torn_bytes > 0) {
        complain("{} ended in a torn line of {}, which is in {}.torn now", log_path_,
                 counted(torn_bytes, "byte"), log_path_);
    }
    if (inputs_cut_short_ > 0) {
        complain("not read to the end: {}", counted(inputs_cut_short_, "input"));
    }
    if (bytes_left_out_ > 0) {
        complain("left out, of lines that had only begun: {}", counted(bytes_left_out_, "byte"));
    }
}

} // namespace

int main(int argc, char** argv) {
    std::string log;
    std::vector<std::string> inputs;

    command_line line(
        "Merges the lines of many inputs into one log file.",
        fmt::format(
            "Lines stay as they are, byte for byte, in the order of their input; those of\n"
            "different inputs mix. A last line without a newline gets one. A line longer than\n"
            "{} MiB is cut. A FIFO ends when its last writer closes it. One process at a time\n"
            "writes a log.\n\n"
            "Ctrl-C or SIGTERM: stops reading, writes all whole lines that were read, exits with\n"
            "130 or 143.\n"
            "Exit status: 0 all inputs are in the log; 1 something could not be read or written\n"
            "(where an input cannot be opened, nothing is written); 2 bad arguments.",
            line_limits.line_bytes_max >> 20));
    line.required_text(
        {"-o,--out", "The log. Lines are appended; it is created if it is not there", "FILE"}, log,
        [](const std::string& name) -> std::string {
            return name.empty() || name == "-" ? "the log is a file, which one process writes at a "
                                                 "time: give its name"
                                               : "";
        });
    line.list({"INPUT", "Files, FIFOs, or - for standard input, which is the default"}, inputs);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }
    if (inputs.empty()) {
        inputs.emplace_back("-");
    }

    // Before the loop opens descriptors of its own, which would take the free number.
    if (std::find(inputs.begin(), inputs.end(), "-") != inputs.end() &&
        ::fcntl(STDIN_FILENO, F_GETFD) < 0) {
        complain("cannot read standard input: it is closed");
        return 1;
    }

    merge job(log, inputs);
    try {
        return sapwood::run(job.run());
    } catch (const std::exception& failure) {
        complain("{}", failure.what());
        return 1;
    }
}
