// log_ring: frames through the memory between a thread that logs and who writes the log.
#include <sapwood/log_ring.hpp>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <doctest/doctest.h>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace sapwood::detail;

constexpr std::size_t ring_bytes = 4096;

std::size_t bytes_for(std::size_t text) {
    return (sizeof(log_frame) + text + 7) / 8 * 8;
}

void fill(log_ring_writer& to, char* place, std::string_view text) {
    const log_frame frame{.bytes = static_cast<std::uint32_t>(bytes_for(text.size())),
                          .sequence = static_cast<std::uint32_t>(to.sequence()),
                          .ticks = to.sequence(),
                          .message_bytes = static_cast<std::uint32_t>(text.size()),
                          .logger = 0,
                          .importance = 2,
                          .flags = 0};
    std::memcpy(place, &frame, sizeof(frame));
    std::memcpy(place + sizeof(frame), text.data(), text.size());
    to.commit(frame.bytes);
}

/// False where there is no room.
bool put(log_ring_writer& to, std::string_view text, const char* end = nullptr) {
    const std::size_t bytes = bytes_for(text.size());
    char* place = to.reserve(bytes);
    bool half_full = false;
    place = place != nullptr ? place : to.reserve_slowly(bytes, half_full);
    if (place != nullptr) {
        REQUIRE((end == nullptr || place + bytes <= end)); // of the ring's data
        fill(to, place, text);
    }
    return place != nullptr;
}

std::string text_of(const log_frame& frame) {
    return {reinterpret_cast<const char*>(&frame) + sizeof(frame), frame.message_bytes};
}

/// What is in the ring.
std::vector<std::string> take_all(log_ring_reader& from) {
    std::vector<std::string> taken;
    if (from.begin()) {
        while (const auto* const frame = from.front()) {
            taken.push_back(text_of(*frame));
            from.pop(*frame);
        }
        from.end();
    }
    return taken;
}

std::string text_number(std::size_t number, std::size_t size) {
    std::string text = std::to_string(number) + ":";
    text.resize(std::max(size, text.size()), static_cast<char>('a' + number % 26));
    return text;
}

} // namespace

TEST_SUITE("log_ring") {

    TEST_CASE("frames of all sizes come out as they went in, lap after lap") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        std::vector<std::string> expected;
        const char* const end =
            reinterpret_cast<char*>(&memory.header()) + sizeof(log_ring_header) + ring_bytes;
        for (std::size_t i = 0; i < 10'000; ++i) {
            const auto text = text_number(i, random() % (writer.frame_bytes_max() - 40));
            if (!put(writer, text, end)) {
                REQUIRE(take_all(reader) == expected);
                expected.clear();
                REQUIRE(put(writer, text, end));
            }
            expected.push_back(text);
        }
        CHECK(take_all(reader) == expected);
        CHECK(reader.corrupt_bytes() == 0);
    }

    TEST_CASE("a full ring takes no more, and takes again when there is room") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        std::size_t taken = 0;
        while (put(writer, std::string(72, 'x'))) {
            ++taken;
        }
        CHECK(taken == ring_bytes / 96);
        CHECK_FALSE(put(writer, std::string(72, 'x')));
        CHECK(take_all(reader).size() == taken);
        CHECK(put(writer, std::string(72, 'x')));
    }

    TEST_CASE("the oldest records make room for new ones, and the account is exact") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        for (std::size_t i = 0; i < 1'000; ++i) {
            const auto text = text_number(i, i % 300);
            while (!put(writer, text)) {
                REQUIRE(writer.drop_oldest(bytes_for(text.size())));
            }
        }
        const auto left = take_all(reader);
        REQUIRE_FALSE(left.empty());
        CHECK(left.size() + reader.drops(drop_reason::made_room) == 1'000);
        CHECK(left.back() == text_number(999, 999 % 300));
        CHECK(left.front() == text_number(1'000 - left.size(), (1'000 - left.size()) % 300));
    }

    TEST_CASE("what the consumer reads just now is not dropped") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        while (put(writer, "an old one")) {
        }
        REQUIRE(reader.begin());
        CHECK_FALSE(writer.drop_oldest(64));
        reader.end();
        CHECK(writer.drop_oldest(64));
    }

    TEST_CASE("whoever ends what has not begun leaves the tail where the producer has moved it") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        CHECK_FALSE(reader.begin());
        while (put(writer, "an old one")) {
        }
        REQUIRE(writer.drop_oldest(64));
        const std::uint64_t tail = memory.header().tail.load();
        CHECK(tail > 0);
        CHECK_FALSE(reader.end_if_begun());
        CHECK(memory.header().tail.load() == tail);
        REQUIRE(reader.begin());
        CHECK(reader.front()->sequence > 0);
        reader.pop(*reader.front());
        CHECK_FALSE(reader.end_if_begun());
        CHECK(memory.header().tail.load() > tail);
    }

    TEST_CASE("a dropped record leaves a number that is missing") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        REQUIRE(put(writer, "first"));
        writer.drop(drop_reason::ring_full);
        CHECK(reader.dropped_through() == 2);
        REQUIRE(put(writer, "third"));
        REQUIRE(reader.begin());
        reader.pop(*reader.front());
        CHECK(reader.front()->sequence == 2);
        reader.end();
        CHECK(reader.drops(drop_reason::ring_full) == 1);
    }

    TEST_CASE("a length that cannot be ends the damage at what is committed") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        REQUIRE(put(writer, "good"));
        REQUIRE(put(writer, "bad"));
        char* const second =
            reinterpret_cast<char*>(&memory.header()) + sizeof(log_ring_header) + bytes_for(4);
        const std::uint32_t nonsense = 12345;
        std::memcpy(second, &nonsense, sizeof(nonsense));
        CHECK(take_all(reader) == std::vector<std::string>{"good"});
        CHECK(reader.corrupt_bytes() == bytes_for(3));
        REQUIRE(put(writer, "good again"));
        CHECK(take_all(reader) == std::vector<std::string>{"good again"});
    }

    TEST_CASE("a thread that waits for room gets every record through, in order") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        log_ring_reader reader(memory.header());
        constexpr std::size_t count = 50'000;
        const std::atomic<bool> never{false};
        std::thread producer([&] {
            for (std::size_t i = 0; i < count; ++i) {
                while (!put(writer, text_number(i, i % 200))) {
                    writer.wait_for_room(-1, never);
                }
            }
        });
        std::size_t next = 0;
        bool in_order = true;
        while (next < count) {
            for (const auto& text : take_all(reader)) {
                in_order = in_order && text == text_number(next, next % 200);
                ++next;
            }
            std::this_thread::yield();
        }
        producer.join();
        CHECK(in_order);
    }

    TEST_CASE("a wait for room ends at its deadline, and when nobody reads any more") {
        log_ring_memory memory(ring_bytes);
        log_ring_writer writer(memory.header());
        while (put(writer, "full")) {
        }
        const std::atomic<bool> never{false};
        writer.wait_for_room(1, never); // long ago
        const std::atomic<bool> stopped{true};
        writer.wait_for_room(-1, stopped);
        CHECK_FALSE(put(writer, "full"));
    }
}
