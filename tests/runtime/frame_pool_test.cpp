// The frame pool: blocks are kept, bounded, and freed with their thread.
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/frame_pool.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <cstring>
#include <thread>
#include <vector>

namespace {

using sapwood::task;
using sapwood::detail::allocate_frame;
using sapwood::detail::frame_pool;
using sapwood::detail::free_frame;
using sapwood::detail::thread_frames;
using sapwood::test::allocations;
using sapwood::test::allocations_alive;

task<int> child(int value) {
    co_await sapwood::yield();
    co_return value;
}

} // namespace

TEST_SUITE("frame_pool") {

#if !SAPWOOD_ADDRESS_SANITIZER // which sees each frame's own lifetime instead
    TEST_CASE("a freed block is handed out again for the same size class") {
        void* const first = allocate_frame(frame_pool::granularity + 1);
        free_frame(first, frame_pool::granularity + 1);
        void* const second = allocate_frame(2 * frame_pool::granularity);
        CHECK(first == second);
        free_frame(second, 2 * frame_pool::granularity);
    }

    TEST_CASE("what a thread keeps is counted and bounded") {
        std::thread([] {
            constexpr std::size_t size = frame_pool::block_bytes_max;
            constexpr std::size_t more = frame_pool::cached_bytes_max / size + 1000;
            const auto before = allocations_alive();
            std::vector<void*> blocks(more);
            for (auto& block : blocks) {
                block = allocate_frame(size);
            }
            for (void* const block : blocks) {
                free_frame(block, size);
            }
            CHECK(thread_frames.cached_bytes == frame_pool::cached_bytes_max);
            const auto kept = static_cast<std::size_t>(allocations_alive() - before) - 1;
            CHECK(kept >= frame_pool::cached_bytes_max / size);
            CHECK(kept < frame_pool::cached_bytes_max / size + frame_pool::step);
            for (auto& block : blocks) {
                block = allocate_frame(size);
            }
            CHECK(thread_frames.cached_bytes == 0);
            for (void* const block : blocks) {
                free_frame(block, size);
            }
        }).join();
    }

    CO_TEST_CASE("a program that has warmed up awaits, spawns and sends without the allocator") {
        sapwood::channel<int> queue(8);
        auto receive = [&]() -> task<int> { co_return co_await queue.receive(); };
        std::size_t before = 0;
        int sum = 0;
        for (int round = 0; round < 100; ++round) {
            if (round == 1) {
                before = allocations();
            }
            auto one = sapwood::spawn(child(1));
            auto two = sapwood::spawn(receive());
            sum += co_await child(1);
            co_await queue.send(1);
            sum += co_await one + co_await two;
        }
        const std::size_t after = allocations();
        CHECK(sum == 300);
        CHECK(after == before);
    }
#endif

    TEST_CASE("blocks of every size are whole and apart") {
        std::vector<std::pair<unsigned char*, std::size_t>> blocks;
        for (std::size_t size = 1; size < frame_pool::block_bytes_max + 200; size += 13) {
            auto* const bytes = static_cast<unsigned char*>(allocate_frame(size));
            std::memset(bytes, static_cast<int>(size % 251), size);
            blocks.emplace_back(bytes, size);
        }
        std::size_t spoilt = 0;
        for (const auto& [bytes, size] : blocks) {
            for (std::size_t i = 0; i < size; ++i) {
                spoilt += bytes[i] == size % 251 ? 0 : 1;
            }
            free_frame(bytes, size);
        }
        CHECK(spoilt == 0);
    }

    TEST_CASE("a frame over the largest size goes straight back to the allocator") {
        const auto before = allocations_alive();
        void* const large = allocate_frame(frame_pool::block_bytes_max + 1);
        CHECK(allocations_alive() == before + 1);
        free_frame(large, frame_pool::block_bytes_max + 1);
        CHECK(allocations_alive() == before);
    }

    TEST_CASE("a thread's blocks are freed when it ends, also those another thread allocated") {
        std::vector<void*> blocks;
        for (int i = 0; i < 100; ++i) {
            blocks.push_back(allocate_frame(300));
        }
        const auto before = allocations_alive();
        std::thread([&] {
            for (void* const block : blocks) {
                free_frame(block, 300);
            }
            free_frame(allocate_frame(500), 500);
        }).join();
        CHECK(allocations_alive() == before - 100);
    }

    TEST_CASE("a loop on a thread that ends leaves nothing allocated") {
        auto work = []() -> task<int> {
            int sum = 0;
            for (int i = 0; i < 50; ++i) {
                auto handle = sapwood::spawn(child(1));
                sum += co_await child(1) + co_await handle;
            }
            co_return sum;
        };
        int sum = 0;
        std::thread([&] { sum = sapwood::run(work()); }).join();
        const auto before = allocations_alive();
        std::thread([&] { sum += sapwood::run(work()); }).join();
        CHECK(sum == 200);
        CHECK(allocations_alive() == before);
    }
}
