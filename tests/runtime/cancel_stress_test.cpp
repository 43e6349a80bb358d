// Random trees of tasks on real sockets, pipes, timers and channels, each cancelled at a random
// moment. Whatever happens, every byte and item is accounted for, every task has ended, every
// descriptor is closed, and nobody is stopped whom nobody asked to. Under the address sanitizer the
// loop looks besides whether the kernel ever had a buffer that was gone (buffer_watch.hpp).
//
// SAPWOOD_STRESS_SEED repeats a failure (as far as the kernel's timing lets it),
// SAPWOOD_STRESS_TREES says how many trees. structure_stress is its sister in virtual time.
#include "support/conduit.hpp"

#include <sapwood/sanitizers.hpp>
#include <sapwood/sapwood.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::task;
using sapwood::timeout;
using sapwood::test::conduit;

/// Trees of one loop, which share conduits and a channel; so many grow at a time.
constexpr unsigned trees_per_wood = 500;
constexpr unsigned gardeners = 12;

/// A hundred thousand in `./dev check asan`, half of them on each ring; elsewhere, where nobody
/// looks at the kernel's buffers, some.
#if SAPWOOD_ADDRESS_SANITIZER
constexpr unsigned trees_default = 50'000;
#elif defined(__SANITIZE_THREAD__)
constexpr unsigned trees_default = 5'000;
#else
constexpr unsigned trees_default = 20'000;
#endif

/// Aborts, and says which seed it was, where nothing is finished for a minute.
class watchdog {
  public:
    watchdog() : thread_([this] { watch(); }) {}

    watchdog(const watchdog&) = delete;
    watchdog& operator=(const watchdog&) = delete;

    ~watchdog() {
        {
            const std::lock_guard lock(mutex_);
            is_over_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }

    void begins(std::uint32_t seed) noexcept { seed_ = seed; }

  private:
    void watch() {
        std::unique_lock lock(mutex_);
        for (std::uint32_t last = 0;;) {
            if (changed_.wait_for(lock, 60s, [this] { return is_over_; })) {
                return;
            }
            if (seed_ == last) {
                std::fprintf(stderr, "cancel_stress hangs: SAPWOOD_STRESS_SEED=%u\n", last);
                std::abort();
            }
            last = seed_;
        }
    }

    std::atomic<std::uint32_t> seed_ = 0;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_over_ = false;
    std::thread thread_; // last: it uses the rest
};

/// An item that knows where it is: what is destroyed and was neither taken nor kept is lost.
class item {
  public:
    explicit item(int& alive) noexcept : alive_(&alive) { ++alive; }

    item(item&& other) noexcept : alive_(std::exchange(other.alive_, nullptr)) {}

    item& operator=(item&&) = delete;

    ~item() {
        if (alive_ != nullptr) {
            --*alive_;
        }
    }

    [[nodiscard]] bool is_there() const noexcept { return alive_ != nullptr; }

  private:
    int* alive_;
};

struct counts {
    int started = 0;
    int ended = 0;
    int sent = 0;
    int received = 0;
    int strays = 0;
    /// Of the first exception that should not be.
    std::string stray;
};

/// A task that is counted from its first step to its last.
class counted {
  public:
    explicit counted(counts& of) noexcept : counts_(of) { ++counts_.started; }

    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;

    ~counted() { ++counts_.ended; }

  private:
    counts& counts_;
};

class wood {
  public:
    explicit wood(std::uint32_t seed, unsigned trees) : random_(seed), trees_(trees) {}

    /// Grows all trees, and then counts what is left.
    task<> grow() {
        conduits_ = co_await sapwood::test::make_conduits();
        listener_ = sapwood::unix_listener(sapwood::endpoint::unix_abstract(
            "sapwood-wood-" + std::to_string(::getpid()) + "-" + std::to_string(random_())));
        sapwood::remote_sender<int> door(numbers_, 4);
        std::thread sender([door = std::move(door), this]() mutable { send_numbers(door); });
        co_await sapwood::with_task_group([this](sapwood::task_group& group) -> task<> {
            for (unsigned i = 0; i < gardeners; ++i) {
                group.spawn(tend());
            }
            co_return;
        });
        numbers_.close();
        sender.join();
        co_await empty();
        co_await listener_.close();
        conduits_.clear();
    }

    counts tally;
    conduit::counts bytes;
    int items_alive = 0;
    /// By the thread, and of what it sent.
    int numbers_sent = 0;
    int numbers_received = 0;

  private:
    static constexpr int depth_max = 2;

    [[nodiscard]] unsigned below(unsigned bound) {
        return static_cast<unsigned>(random_() % bound);
    }

    [[nodiscard]] bool chance(unsigned one_in) { return below(one_in) == 0; }

    [[nodiscard]] sapwood::clock::duration some_time() { return 1us * below(30); }

    task<> some_turns(unsigned below_this) {
        for (unsigned turns = below(below_this); turns > 0; --turns) {
            co_await sapwood::yield();
        }
    }

    // --- the wood ---

    task<> tend() {
        while (trees_ > 0) {
            --trees_;
            co_await one_tree();
        }
    }

    task<> one_tree() {
        auto root = sapwood::spawn(node(0));
        for (unsigned turns = below(24); turns > 0 && !root.done(); --turns) {
            co_await sapwood::yield();
        }
        root.cancel();
        try {
            co_await root;
        } catch (const sapwood::cancelled&) {
        } catch (const std::exception& failure) {
            note_stray(failure);
        }
    }

    void note_stray(const std::exception& failure) {
        if (tally.strays++ == 0) {
            tally.stray = failure.what();
        }
    }

    void send_numbers(sapwood::remote_sender<int>& door) {
        int sent = 0;
        try {
            for (;; ++sent) {
                if (sent % 3 != 0 || !door.send_for(int(sent), 1ms)) {
                    door.send(sent);
                }
            }
        } catch (const std::system_error&) {
            numbers_sent = sent; // the channel was closed
        }
    }

    /// What nobody took.
    task<> empty() {
        for (const auto& each : conduits_) {
            co_await each->drain();
            bytes.put += each->tally.put;
            bytes.taken += each->tally.taken;
            bytes.foreign += each->tally.foreign;
        }
        while (items_.try_receive()) {
            ++tally.received;
        }
        for (;;) {
            const auto number = co_await sapwood::as_result(numbers_.receive());
            if (!number) {
                break;
            }
            ++numbers_received;
        }
    }

    // --- a tree ---

    task<> node(int depth) {
        const counted alive(tally);
        for (unsigned steps = 1 + below(2); steps > 0; --steps) {
            if (depth == depth_max) {
                co_await leaf();
            } else {
                co_await branch(depth);
            }
        }
    }

    task<> branch(int depth) {
        switch (below(9)) {
        case 0:
            (void)co_await sapwood::as_result(timeout(some_time(), node(depth + 1)));
            break;
        case 1:
            co_await sapwood::with_task_group([&](sapwood::task_group& group) -> task<> {
                for (unsigned i = below(3); i > 0; --i) {
                    group.spawn(node(depth + 1));
                }
                co_await leaf();
                if (chance(2)) {
                    group.cancel();
                }
            });
            break;
        case 2:
            (void)co_await sapwood::when_any(node(depth + 1), some_turns(8));
            break;
        case 3:
            (void)co_await sapwood::when_all(node(depth + 1), leaf());
            break;
        case 4:
            co_await cancelled_child(depth);
            break;
        case 5: {
            const auto shielded = co_await sapwood::shield();
            (void)co_await sapwood::as_result(timeout(some_time(), leaf()));
            break;
        }
        default:
            co_await leaf();
        }
    }

    /// Where the child was stopped so is this task, which cannot tell the child's request from one
    /// to itself, and nobody asks twice.
    task<> cancelled_child(int depth) {
        auto child = sapwood::spawn(node(depth + 1));
        bool is_stopped = false;
        try {
            co_await some_turns(6);
        } catch (const sapwood::cancelled&) {
            is_stopped = true; // a handle that is dropped would leave the child behind
        }
        child.cancel();
        co_await child;
        if (is_stopped) {
            throw sapwood::cancelled{};
        }
    }

    task<> leaf() {
        conduit& through = *conduits_[below(static_cast<unsigned>(conduits_.size()))];
        switch (below(16)) {
        case 0:
        case 1:
        case 2:
            return through.put(1 + below(conduit::piece_bytes_max));
        case 3:
        case 4:
        case 5:
            return through.take(1 + below(conduit::piece_bytes_max));
        case 6:
            return limited(through);
        case 7:
            return look_at(through);
        case 8:
            return send();
        case 9:
            return receive();
        case 10:
            return receive_several();
        case 11:
            return receive_numbers();
        case 12:
            return own_pair();
        case 13:
            return meet();
        case 14:
            return nap();
        default:
            return some_turns(4);
        }
    }

    task<> limited(conduit& through) {
        auto use = chance(2) ? through.take(1 + below(100)) : through.put(1 + below(100));
        (void)co_await sapwood::as_result(timeout(some_time(), std::move(use)));
    }

    task<> look_at(conduit& through) {
        (void)co_await sapwood::when_any(sapwood::poll(through.exit(), POLLIN),
                                         sapwood::sleep_for(some_time()));
    }

    task<> nap() { co_await sapwood::sleep_for(some_time()); }

    task<> send() {
        item one(items_alive);
        if (chance(2)) {
            co_await items_.send(std::move(one));
            ++tally.sent;
        } else {
            tally.sent += co_await items_.send_for(std::move(one), some_time()) ? 1 : 0;
        }
    }

    task<> receive() {
        if (chance(2)) {
            const item one = co_await items_.receive();
            tally.received += one.is_there() ? 1 : 0;
        } else {
            const auto one = co_await items_.receive_for(some_time());
            tally.received += one && one->is_there() ? 1 : 0;
        }
    }

    task<> receive_several() {
        struct counting : std::vector<item> {
            int& received;

            explicit counting(int& count) noexcept : received(count) {}

            counting(const counting&) = delete;
            counting& operator=(const counting&) = delete;

            ~counting() { received += static_cast<int>(size()); }
        };

        counting some(tally.received);
        (void)co_await items_.receive_many(some, 3, some_time());
    }

    task<> receive_numbers() {
        for (unsigned i = 1 + below(6); i > 0; --i) {
            (void)co_await numbers_.receive();
            ++numbers_received;
        }
    }

    /// Two descriptors that live as long as this task.
    task<> own_pair() {
        auto [left, right] = sapwood::unix_stream::make_pair();
        std::array<char, 8> into{};
        switch (below(3)) {
        case 0: // a write and a read that meet, or are broken off
            (void)co_await sapwood::when_all(left.write_all("12345678"sv),
                                             right.read_exactly(into));
            break;
        case 1: // a read that nobody answers, and a close behind it
            (void)co_await sapwood::when_any(left.read_some(into), sapwood::sleep_for(some_time()));
            co_await left.close();
            break;
        default: // a descriptor on its way
            (void)co_await sapwood::when_all(left.send_descriptor(right.fd()),
                                             right.receive_descriptor());
        }
    }

    /// Connects, or accepts whom another tree has connected.
    task<> meet() {
        if (chance(2)) {
            (void)co_await sapwood::unix_stream::connect(listener_.local_endpoint());
        } else {
            const auto guest = co_await listener_.accept();
            tally.strays += guest.is_open() ? 0 : 1;
        }
    }

    std::mt19937 random_;
    unsigned trees_;
    std::vector<std::unique_ptr<conduit>> conduits_;
    sapwood::unix_listener listener_;
    sapwood::channel<item> items_{3};
    sapwood::channel<int> numbers_{3};
};

std::uint32_t number_from(const char* variable, std::uint32_t otherwise) {
    const char* const text = std::getenv(variable);
    return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::stoul(text));
}

} // namespace

TEST_SUITE("cancel_stress") {

    TEST_CASE("trees that are cancelled anywhere lose no byte, item, task or descriptor") {
        const std::uint32_t trees = number_from("SAPWOOD_STRESS_TREES", trees_default);
        const std::uint32_t first = number_from("SAPWOOD_STRESS_SEED", std::random_device()());
        std::size_t bytes_taken = 0;
        int items_received = 0;
        watchdog dog;
        for (std::uint32_t grown = 0; grown < trees; grown += trees_per_wood) {
            const std::uint32_t seed = first + grown / trees_per_wood;
            INFO("SAPWOOD_STRESS_SEED=", seed);
            dog.begins(seed);
            const std::size_t descriptors = sapwood::test::open_descriptors();
            wood woods(seed, std::min(trees_per_wood, trees - grown));
            sapwood::run(woods.grow());
            REQUIRE_MESSAGE(woods.tally.strays == 0, woods.tally.stray);
            REQUIRE(woods.tally.started == woods.tally.ended);
            REQUIRE(woods.bytes.put == woods.bytes.taken);
            REQUIRE(woods.bytes.foreign == 0);
            REQUIRE(woods.tally.sent == woods.tally.received);
            REQUIRE(woods.items_alive == 0);
            REQUIRE(woods.numbers_sent == woods.numbers_received);
            REQUIRE(sapwood::test::open_descriptors() == descriptors);
            bytes_taken += woods.bytes.taken;
            items_received += woods.tally.received;
        }
        // What is never carried cannot be lost.
        CHECK(bytes_taken > trees * 10);
        CHECK(items_received > 0);
    }
}
