// Producer threads, a bounded queue and one consumer, in two models next to each other:
//
//   threads   a queue on a mutex and condition variables, the consumer a thread: Python's
//             queue.Queue and threading
//   sapwood   remote_sender brings the threads' items into a loop, the consumer a coroutine
//
// The consumer is slower than its producers, so the queue fills: a put with a timeout ends in
// "discarded!", because a bounded queue on which everybody waits without one can deadlock.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <exception>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace {

using std::chrono::milliseconds;

struct settings {
    int producers = 2;
    /// Per producer.
    int items = 6;
    std::size_t capacity = 3;
    /// How long a producer waits for room before it gives up on an item.
    milliseconds put_timeout{20};
    /// How long the consumer takes for an item.
    milliseconds work{30};
};

// --- What both models print ---

void print_queued(const std::string& item) {
    print_line("queued    : {}", item);
}

void print_discarded(const std::string& item) {
    print_line("queued item {} discarded!", item);
}

void print_empty() {
    print_line("the queue is empty: waiting");
}

void print_consuming(const std::string& item) {
    print_line("consuming : {}", item);
}

std::string item_name(int producer, int number) {
    return fmt::format("{}-{}", producer, number);
}

// --- The threads model ---

/// Any thread may call anything. Every access takes the mutex; who waits sleeps in the kernel and
/// is woken by it.
template <class T>
class bounded_queue {
  public:
    explicit bounded_queue(std::size_t capacity) : capacity_(capacity) {}

    /// Python's put(item, timeout=...): false where it raises Full, and `item` is untouched.
    [[nodiscard]] bool put(T& item, milliseconds timeout) {
        std::unique_lock lock(mutex_);
        if (!room_.wait_for(lock, timeout, [this] { return items_.size() < capacity_; })) {
            return false;
        }
        items_.push_back(std::move(item));
        ++unfinished_;
        filled_.notify_one();
        return true;
    }

    /// Python's get(block=False): empty where it raises Empty.
    [[nodiscard]] std::optional<T> try_get() {
        const std::lock_guard lock(mutex_);
        return items_.empty() ? std::nullopt : std::optional(take_first());
    }

    /// Waits for an item; empty once `stop` is requested.
    [[nodiscard]] std::optional<T> get(std::stop_token stop) {
        std::unique_lock lock(mutex_);
        if (!filled_.wait(lock, std::move(stop), [this] { return !items_.empty(); })) {
            return std::nullopt;
        }
        return take_first();
    }

    /// An item taken earlier has been dealt with.
    void task_done() {
        const std::lock_guard lock(mutex_);
        if (--unfinished_ == 0) {
            all_done_.notify_all();
        }
    }

    /// Waits until everything put has been dealt with.
    void join() {
        std::unique_lock lock(mutex_);
        all_done_.wait(lock, [this] { return unfinished_ == 0; });
    }

  private:
    /// With mutex_ held.
    T take_first() {
        T item = std::move(items_.front());
        items_.pop_front();
        room_.notify_one();
        return item;
    }

    const std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable_any filled_; // the one that knows stop tokens
    std::condition_variable all_done_;
    std::deque<T> items_;
    std::size_t unfinished_ = 0;
};

void run_threads(const settings& with) {
    bounded_queue<std::string> queue(with.capacity);

    std::jthread consumer([&](const std::stop_token& stop) {
        while (true) {
            auto item = queue.try_get();
            if (!item) {
                print_empty();
                item = queue.get(stop);
            }
            if (!item) {
                return; // told to stop
            }
            print_consuming(*item);
            std::this_thread::sleep_for(with.work);
            queue.task_done();
        }
    });

    std::vector<std::jthread> producers;
    for (int id = 1; id <= with.producers; ++id) {
        producers.emplace_back([&, id] {
            for (int x = 1; x <= with.items; ++x) {
                std::string item = item_name(id, x);
                if (queue.put(item, with.put_timeout)) {
                    print_queued(item_name(id, x));
                } else {
                    print_discarded(item);
                }
            }
        });
    }

    producers.clear();       // waits for each
    queue.join();            // until the consumer has dealt with every item
    consumer.request_stop(); // it is still waiting for an item
}

// --- The sapwood model ---

sapwood::task<> consume(sapwood::channel<std::string>& queue, milliseconds work) {
    while (true) {
        auto item = queue.try_receive();
        if (!item) {
            print_empty();
            item = co_await queue.receive();
        }
        print_consuming(*item);
        co_await sapwood::sleep_for(work); // the loop's other tasks run meanwhile
        queue.task_done();
    }
}

sapwood::task<> run_sapwood(const settings& with) {
    sapwood::channel<std::string> queue(with.capacity);
    // Threads reach a channel through a door. Its room comes on top of the channel's, so it gets
    // the least.
    sapwood::remote_sender<std::string> door(queue, 1);

    // A thread's end is news like any other: waiting in join() would block the loop.
    const auto producers_count = static_cast<std::size_t>(with.producers);
    sapwood::channel<int> ended(producers_count);
    sapwood::remote_sender<int> tell_end(ended, producers_count);

    auto consumer = sapwood::spawn(consume(queue, with.work));

    std::vector<std::jthread> producers;
    for (int id = 1; id <= with.producers; ++id) {
        producers.emplace_back([&with, id, door, tell_end]() mutable {
            for (int x = 1; x <= with.items; ++x) {
                std::string item = item_name(id, x);
                if (door.send_for(std::move(item), with.put_timeout)) {
                    print_queued(item_name(id, x));
                } else {
                    print_discarded(item_name(id, x));
                }
            }
            tell_end.send(id);
        });
    }

    for (std::size_t i = 0; i < producers_count; ++i) {
        (void)co_await ended.receive();
    }
    co_await queue.join(); // until the consumer has dealt with every item
    consumer.cancel();     // it is still awaiting an item
}

} // namespace

int main(int argc, char** argv) {
    settings with;
    std::string model = "both";
    int put_timeout = static_cast<int>(with.put_timeout.count());
    int work = static_cast<int>(with.work.count());

    command_line line(
        "Producer threads, a bounded queue and one consumer, with a thread-safe queue "
        "and with a coroutine.");
    line.one_of({"--model", "threads, sapwood or both", "NAME"}, model,
                {"threads", "sapwood", "both"});
    line.number({"--producers", "Producer threads", "N"}, with.producers, 1, 256);
    line.number({"--items", "Items of each producer", "N"}, with.items, 0, 1'000'000'000);
    line.number({"--capacity", "Items that may wait in the queue", "N"}, with.capacity,
                std::size_t{1}, std::size_t{1} << 24);
    line.number({"--put-timeout", "How long a producer waits for room", "MS"}, put_timeout, 0,
                3'600'000);
    line.number({"--work", "How long the consumer takes for an item", "MS"}, work, 0, 3'600'000);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }
    with.put_timeout = milliseconds(put_timeout);
    with.work = milliseconds(work);

    try {
        if (model != "sapwood") {
            print_line("== threads: a mutex and condition variables, the consumer a thread");
            run_threads(with);
        }
        if (model != "threads") {
            print_line("== sapwood: a remote_sender into a loop, the consumer a coroutine");
            sapwood::run(run_sapwood(with));
        }
    } catch (const std::exception& failure) {
        fmt::print(stderr, "threads_queue: {}\n", failure.what());
        return 1;
    }
}
