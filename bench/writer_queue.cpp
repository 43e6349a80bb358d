// Question: what does handing the lines to a consumer thread cost? Method: producers format into a
// slot of a bounded queue (8192 records, a mutex, two condition variables) and block while it is
// full; the consumer takes everything there is at once and writes it in blocks of 256 KiB. Slots
// are reused, nothing is allocated per record, and nobody is woken who does not wait.
// Unit: see writers.cpp.

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "block_file.hpp"
#include "writer.hpp"
#include "writer_record.hpp"
#include "writer_threads.hpp"

namespace bench {

namespace {

class queued_line {
  public:
    explicit queued_line(std::string_view text) : size_{text.size()} {
        std::memcpy(text_.data(), text.data(), text.size());
    }

    [[nodiscard]] std::string_view text() const { return {text_.data(), size_}; }

  private:
    std::size_t size_;
    std::array<char, line_bytes_max> text_; // Only as much as is used is ever copied.
};

class bounded_queue {
  public:
    bounded_queue() { lines_.reserve(capacity); }

    // Blocks while the queue is full.
    void put(std::string_view line) {
        std::unique_lock lock{mutex_};
        not_full_.wait(lock, [&] { return lines_.size() < capacity; });
        lines_.emplace_back(line);
        const bool was_empty = lines_.size() == 1;
        lock.unlock();
        if (was_empty) {
            not_empty_.notify_one();
        }
    }

    void close() {
        {
            const std::scoped_lock lock{mutex_};
            closed_ = true;
        }
        not_empty_.notify_one();
    }

    // Replaces `lines` by everything in the queue. Blocks while it is empty; false after its end.
    bool take_all(std::vector<queued_line>& lines) {
        lines.clear();
        lines.reserve(capacity);
        std::unique_lock lock{mutex_};
        not_empty_.wait(lock, [&] { return !lines_.empty() || closed_; });
        const bool was_full = lines_.size() == capacity;
        lines_.swap(lines);
        lock.unlock();
        if (was_full) {
            not_full_.notify_all();
        }
        return !lines.empty();
    }

  private:
    static constexpr std::size_t capacity = 8192;

    std::mutex mutex_;
    std::condition_variable not_full_;
    std::condition_variable not_empty_;
    std::vector<queued_line> lines_;
    bool closed_ = false;
};

} // namespace

void write_with_queue(const writer_job& job, run_meter& /*meter*/) {
    bounded_queue queue;
    std::jthread consumer{[&] {
        block_file file{job.path};
        std::vector<queued_line> lines;
        while (queue.take_all(lines)) {
            for (const queued_line& line : lines) {
                file.append(line.text());
            }
        }
        file.close();
    }};
    run_producers(job, [&](std::uint64_t producer) {
        line_formatter formatter;
        std::array<char, line_bytes_max> line;
        const std::uint64_t count = share_of(producer, job.producers, job.records);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::size_t size = formatter.format(line.data(), record_of(producer, i),
                                                      std::chrono::system_clock::now());
            queue.put({line.data(), size});
        }
    });
    queue.close();
}

} // namespace bench
