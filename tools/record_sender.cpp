#include "record_sender.hpp"

#include "complaint.hpp"

#include <sapwood/file.hpp>
#include <sapwood/poll.hpp>
#include <sapwood/result.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_any.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <random>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::tools {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t refusals_told = 20;

/// The last attempt before it gives up has so long at least.
constexpr auto attempt_least = 1s;

void complain_of_sending(std::string_view what) {
    complain_as("send", what);
}

/// From 50 ms on twice as long each time, up to 5 s, of which a random half.
class back_off {
  public:
    [[nodiscard]] clock::duration next() {
        const auto all = std::min<clock::duration>(longest, first * (1 << tries_));
        tries_ = std::min(tries_ + 1, 10);
        std::uniform_int_distribution<clock::rep> random(0, (all / 2).count());
        return all / 2 + clock::duration(random(engine_));
    }

  private:
    static constexpr auto first = 50ms;
    static constexpr auto longest = 5s;

    int tries_ = 0;
    std::minstd_rand engine_{std::random_device{}()};
};

} // namespace

/// Lines out of what is read, with what the parser of JSON wants behind them.
class record_sender::line_input {
  public:
    /// For the next bytes. What next() gave is over.
    [[nodiscard]] std::span<char> room() {
        buffer_.erase(0, begin_);
        end_ -= begin_;
        searched_ = end_;
        begin_ = 0;
        buffer_.resize(end_ + read_bytes + line_padding);
        return {buffer_.data() + end_, read_bytes};
    }

    void took(std::size_t bytes) noexcept { end_ += bytes; }

    [[nodiscard]] bool has_line() const noexcept {
        return text().find('\n', searched_) != std::string_view::npos;
    }

    /// Where has_line().
    [[nodiscard]] std::string_view next() noexcept {
        const std::size_t newline = text().find('\n', searched_);
        const std::string_view line = text().substr(begin_, newline - begin_);
        begin_ = searched_ = newline + 1;
        return line;
    }

    /// What has no end yet, where not has_line().
    [[nodiscard]] std::string_view rest() const noexcept { return text().substr(begin_); }

    [[nodiscard]] std::string_view take_rest() noexcept {
        const std::string_view line = rest();
        begin_ = searched_ = end_;
        return line;
    }

  private:
    static constexpr std::size_t read_bytes = 128u << 10;

    [[nodiscard]] std::string_view text() const noexcept { return {buffer_.data(), end_}; }

    std::string buffer_;
    /// Of the bytes in it: what was given out, and where there is no newline before.
    std::size_t begin_ = 0;
    std::size_t searched_ = 0;
    std::size_t end_ = 0;
};

record_sender::record_sender(std::unique_ptr<send_target> to, record_form_options form,
                             sender_options options)
    : target_(std::move(to)),
      form_(std::move(form)),
      options_(options) {}

task<sender_counts> record_sender::run(std::vector<std::string> files, std::string message) {
    if (files.empty()) {
        message.append(line_padding, '\0');
        add(std::string_view(message).substr(0, message.size() - line_padding));
    }
    reading_ = spawn(read_all(std::move(files)));
    co_await when_any(send_all(), watch_signals());
    reading_.cancel();
    co_await reading_;
    counts_.may_be_lost = target_->may_be_lost();
    counts_.taken += target_->taken_of_unfinished();
    if (counts_.trouble.empty() && counts_.taken + counts_.refused < counts_.read) {
        counts_.trouble = "there was no time left to send the rest";
    }
    co_return counts_;
}

/// The first signal ends the reading, the second one, or the time, everything.
task<> record_sender::watch_signals() {
    signal_set signals{SIGINT, SIGTERM};
    (void)co_await signals.next();
    counts_.was_interrupted = true;
    reading_.cancel();
    (void)co_await as_result(timeout(options_.drain_within, signals.next()));
}

/// Told to stop, ends normally: what it has read is to be sent.
task<> record_sender::read_all(std::vector<std::string> files) {
    // Whatever ends it, send_all is to know.
    struct end_of_reading {
        explicit end_of_reading(record_sender& whose) noexcept : of(whose) {}

        end_of_reading(const end_of_reading&) = delete;
        end_of_reading& operator=(const end_of_reading&) = delete;

        ~end_of_reading() {
            of.is_read_ = true;
            of.has_work_.set();
        }

        record_sender& of;
    };

    const end_of_reading end(*this);
    for (const std::string& each : files) {
        try {
            co_await read_file(each);
        } catch (const std::system_error& error) {
            // What was read is sent all the same, and so are the files behind it.
            counts_.trouble += counts_.trouble.empty() ? "" : "; ";
            counts_.trouble += error.what();
        } catch (const cancelled&) {
            co_return;
        }
    }
}

task<> record_sender::read_file(const std::string& path) {
    file input;
    if (path == "-") {
        input = file(::dup(STDIN_FILENO));
    } else {
        input = co_await file::open(path);
    }
    line_input lines;
    bool must_stop = false;
    try {
        while (co_await read_some(input, path, lines)) {
            while (lines.has_line()) {
                add(lines.next());
                if (waiting_.size() > batches_waiting_max) {
                    co_await room();
                }
            }
            if (lines.rest().size() > line_bytes_max) {
                complain_of_sending(
                    fmt::format("line {} is too long, and is sent in pieces", counts_.read + 1));
                add(lines.take_rest());
            }
        }
    } catch (const cancelled&) {
        must_stop = true;
    }
    while (lines.has_line()) {
        add(lines.next());
    }
    add(lines.take_rest());
    co_await input.close();
    if (must_stop) {
        throw cancelled{};
    }
}

/// False at the end.
task<bool> record_sender::read_some(file& input, const std::string& path, line_input& lines) {
    const std::span<char> into = lines.room();
    for (;;) {
        // Cancelled or not, what was read is given.
        const result<std::size_t> got = co_await as_result(input.read_some(into));
        if (got.has_value()) {
            lines.took(*got);
            co_return *got != 0;
        }
        if (got.error() == std::errc::operation_canceled) {
            throw cancelled{};
        }
        if (got.error() != std::errc::resource_unavailable_try_again) {
            throw std::system_error(got.error(), fmt::format("cannot read {}", path));
        }
        (void)co_await poll(input, POLLIN);
    }
}

/// Waits until a batch has gone.
task<> record_sender::room() {
    has_room_.reset();
    co_await has_room_.wait();
}

void record_sender::add(std::string_view line) {
    if (line.ends_with('\r')) {
        line.remove_suffix(1);
    }
    if (line.empty()) {
        return;
    }
    if (waiting_.empty() || waiting_.back().bytes.size() >= batch_bytes_max ||
        waiting_.back().ends.size() >= batch_records_max) {
        waiting_.emplace_back().first = counts_.read + 1;
    }
    batch& last = waiting_.back();
    form_.append(line, last.bytes);
    last.ends.push_back(last.bytes.size());
    ++counts_.read;
    has_work_.set();
}

task<> record_sender::send_all() {
    for (;;) {
        if (waiting_.empty()) {
            if (is_read_) {
                break;
            }
            has_work_.reset();
            co_await has_work_.wait();
            continue;
        }
        batch next = std::move(waiting_.front());
        waiting_.pop_front();
        has_room_.set();
        if (!co_await deliver(std::move(next))) {
            co_return;
        }
    }
    const send_answer end = co_await target_->finish();
    counts_.end = end.why;
}

/// False where it is given up.
task<bool> record_sender::deliver(batch what) {
    back_off delays;
    stuck_since_ = clock::now();
    for (bool may_be_there = false, is_counted = false;;) {
        if (may_be_there && !std::exchange(is_counted, true)) {
            counts_.sent_again += what.ends.size();
        }
        const send_answer answer = co_await attempt(what);
        may_be_there = may_be_there || answer.is_doubtful;
        switch (answer.is) {
        case send_answer::kind::taken:
            counts_.taken += what.ends.size();
            if (std::exchange(has_told_of_retry_, false)) {
                complain_of_sending("goes on");
            }
            co_return true;
        case send_answer::kind::refused:
            if (what.ends.size() > 1) {
                split(what);
            } else {
                refuse(what, answer.why);
            }
            if (counts_.taken == 0 && counts_.refused >= refusals_told) {
                counts_.trouble = answer.why;
                co_return false;
            }
            co_return true;
        case send_answer::kind::hopeless:
            counts_.trouble = answer.why;
            co_return false;
        case send_answer::kind::again:
            break;
        }
        clock::duration delay = std::max(delays.next(), answer.after);
        if (options_.give_up_after.count() > 0) {
            const clock::duration left = options_.give_up_after - (clock::now() - stuck_since_);
            if (left.count() <= 0) {
                counts_.trouble = answer.why;
                co_return false;
            }
            delay = std::min(delay, left); // and one last time
        }
        note_retry(answer.why);
        co_await sleep_for(delay);
    }
}

/// Who neither reads nor answers does not make it last for longer than it may.
task<send_answer> record_sender::attempt(const batch& what) {
    if (options_.give_up_after.count() <= 0) {
        co_return co_await target_->send(what.bytes, what.ends.size());
    }
    const clock::duration left = options_.give_up_after - (clock::now() - stuck_since_);
    const clock::duration within = std::max<clock::duration>(left, attempt_least);
    try {
        co_return co_await timeout(within, target_->send(what.bytes, what.ends.size()));
    } catch (const std::system_error& error) {
        send_answer late(send_answer::kind::again, error.what());
        late.is_doubtful = !target_->goes_on();
        co_return late;
    }
}

/// One record that is wrong does not take the others with it.
void record_sender::split(const batch& what) {
    const std::size_t half = what.ends.size() / 2;
    const std::size_t bytes = what.ends[half - 1];
    batch front;
    front.bytes = what.bytes.substr(0, bytes);
    front.ends.assign(what.ends.begin(), what.ends.begin() + static_cast<std::ptrdiff_t>(half));
    front.first = what.first;
    batch back;
    back.bytes = what.bytes.substr(bytes);
    for (std::size_t i = half; i < what.ends.size(); ++i) {
        back.ends.push_back(what.ends[i] - bytes);
    }
    back.first = what.first + half;
    waiting_.push_front(std::move(back));
    waiting_.push_front(std::move(front));
}

void record_sender::refuse(const batch& what, const std::string& why) {
    if (++counts_.refused <= refusals_told) {
        complain_of_sending(fmt::format("record {} was refused: {}", what.first, why));
    }
}

void record_sender::note_retry(const std::string& why) {
    if (!std::exchange(has_told_of_retry_, true)) {
        complain_of_sending(fmt::format("{}; tries again", why));
    }
}

} // namespace sapwood::tools
