#include <sapwood/timer.hpp>

#include <algorithm>

namespace sapwood {

void timer_queue::place(std::size_t index, entry item) noexcept {
    heap_[index] = item;
    item.node->heap_index_ = index;
}

void timer_queue::sift_up(std::size_t index, entry item) noexcept {
    while (index > 0) {
        const std::size_t parent = (index - 1) / children;
        if (heap_[parent].deadline <= item.deadline) {
            break;
        }
        place(index, heap_[parent]);
        index = parent;
    }
    place(index, item);
}

void timer_queue::sift_down(std::size_t index, entry item) noexcept {
    for (;;) {
        const std::size_t first = index * children + 1;
        if (first >= heap_.size()) {
            break;
        }
        const std::size_t last = std::min(first + children, heap_.size());
        std::size_t nearest = first;
        for (std::size_t child = first + 1; child < last; ++child) {
            if (heap_[child].deadline < heap_[nearest].deadline) {
                nearest = child;
            }
        }
        if (item.deadline <= heap_[nearest].deadline) {
            break;
        }
        place(index, heap_[nearest]);
        index = nearest;
    }
    place(index, item);
}

void timer_queue::add(timer& node, clock::time_point deadline) {
    SAPWOOD_ASSERT(!node.armed(), "a timer was armed twice");
    heap_.push_back({deadline, &node});
    sift_up(heap_.size() - 1, heap_.back());
}

void timer_queue::remove(timer& node) noexcept {
    SAPWOOD_ASSERT(node.armed(), "a timer that is not armed was taken out of the queue");
    const std::size_t index = node.heap_index_;
    node.heap_index_ = timer::not_armed;
    const entry last = heap_.back();
    heap_.pop_back();
    if (index == heap_.size()) {
        return;
    }
    if (index > 0 && last.deadline < heap_[(index - 1) / children].deadline) {
        sift_up(index, last);
    } else {
        sift_down(index, last);
    }
}

void timer_queue::fire_due(clock::time_point now) noexcept {
    while (!heap_.empty() && heap_.front().deadline <= now) {
        timer& due = *heap_.front().node;
        remove(due);
        due.fire();
    }
}

} // namespace sapwood
