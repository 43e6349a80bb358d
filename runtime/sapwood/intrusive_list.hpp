// A doubly linked list through links in the items themselves: nothing is allocated, and an item
// leaves from the middle in constant time. An item is in at most one list per links member. The
// list owns nothing; its user keeps threads apart.
#pragma once

namespace sapwood::detail {

template <class T>
struct list_links {
    T* next = nullptr;
    T* previous = nullptr;
};

template <class T, list_links<T> T::*Links>
class intrusive_list {
  public:
    intrusive_list() = default;
    intrusive_list(const intrusive_list&) = delete;
    intrusive_list& operator=(const intrusive_list&) = delete;

    [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

    /// The oldest item; null where there is none.
    [[nodiscard]] T* front() const noexcept { return head_; }

    /// The item behind `item`; null behind the last. Take it before `item` leaves the list.
    [[nodiscard]] static T* after(const T& item) noexcept { return (item.*Links).next; }

    void push_back(T& item) noexcept {
        (item.*Links) = {.next = nullptr, .previous = tail_};
        (tail_ != nullptr ? (tail_->*Links).next : head_) = &item;
        tail_ = &item;
    }

    void push_front(T& item) noexcept {
        (item.*Links) = {.next = head_, .previous = nullptr};
        (head_ != nullptr ? (head_->*Links).previous : tail_) = &item;
        head_ = &item;
    }

    void remove(T& item) noexcept {
        const auto [next, previous] = item.*Links;
        (previous != nullptr ? (previous->*Links).next : head_) = next;
        (next != nullptr ? (next->*Links).previous : tail_) = previous;
        (item.*Links) = {};
    }

    /// The list must not be empty.
    T& pop_front() noexcept {
        T& item = *head_;
        remove(item);
        return item;
    }

  private:
    T* head_ = nullptr;
    T* tail_ = nullptr;
};

} // namespace sapwood::detail
